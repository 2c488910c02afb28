"""A session in this process that several tests of a file share: its worker starts once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = itertools.count(1)


@contextmanager
def session(folder: Path) -> Iterator[Any]:
    """Yield the context of a session whose data root and private folder lie in ``folder``, and close it."""
    from trame.app import get_server

    from hlfd_web.app import Context
    from hlfd_web.files import DataRoot
    from HLFDSegmentLib.graphics import prepare_rendering

    prepare_rendering()
    server = get_server(f"shared-{next(_NAMES)}", client_type="vue3")
    server.state.ready()
    private = folder / "private"
    private.mkdir()
    context = Context(server, DataRoot(folder / "root"), private, "cpu")
    try:
        yield context
    finally:
        context.close()


def wait_for(context: Any, holds: Callable[[], bool], seconds: float) -> None:
    """Poll the context, as the loop of a session does, until a condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"still waiting after {seconds:g} s; notices: {context.state.notices}"
        context.tick()
        time.sleep(0.01)
