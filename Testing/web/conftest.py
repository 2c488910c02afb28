"""Sessions of the browser application: a context in this process, and a page in a real browser."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

_NAMES = itertools.count(1)


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    from hlfd_web.files import DataRoot

    root = DataRoot(tmp_path / "root")
    monkeypatch.setenv("HLFD_MODELS", str(root.models))
    return root


def make_server():
    pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: pip install 'hlfd[slicer]'")
    from trame.app import get_server

    from HLFDSegmentLib.graphics import prepare_rendering

    prepare_rendering()
    made = get_server(f"test-{next(_NAMES)}", client_type="vue3")
    made.state.ready()  # changes of the state reach their listeners from now on
    return made


def make_context(root, folder):
    """The context of one session, with real views, and no page around it."""
    server = make_server()
    from hlfd_web.app import Context

    folder.mkdir(parents=True)
    return Context(server, root, folder, "cpu")


@pytest.fixture
def server():
    return make_server()


@pytest.fixture
def context(data_root, tmp_path):
    made = make_context(data_root, tmp_path / "private")
    yield made
    made.close()


@pytest.fixture
def panels(context):
    """The panels Open, Segment and Models over the context, without the page."""
    from hlfd_web.models_panel import ModelsPanel
    from hlfd_web.open_panel import OpenPanel
    from hlfd_web.segment_panel import SegmentPanel

    for kind in (OpenPanel, SegmentPanel, ModelsPanel):
        context.panels[kind.name] = kind(context)
    return context.panels


@pytest.fixture
def ct_node(context):
    """A small CT, a block of soft tissue in fat in air, in the scene and shown."""
    import numpy as np

    from hlfd.volume import Volume
    from HLFDSegmentLib.volumes import volume_to_node

    array = np.full((20, 24, 28), -1000, np.int16)
    array[2:18, 3:21, 3:25] = -100
    array[4:16, 6:18, 6:22] = 40
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [-28.0, -24.0, -30.0]
    node = volume_to_node(context.scene, Volume(array, affine, "block"))
    context.show_volume(node)
    return node


@pytest.fixture
def wait_until(context) -> Callable[[Callable[[], bool], float], None]:
    """Poll the context, as the loop of a session does, until a condition holds."""

    def wait(holds: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"still waiting after {seconds:g} s; notices: {context.state.notices}"
            context.tick()
            time.sleep(0.01)

    return wait
