"""Slicer's desktop for tests: off screen, on the real scene, driven by a person who clicks and waits."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "HLFDSegment" / "Resources" / "HLFDSegment" / "Samples" / "sample_ct.nii.gz"
PANEL_WIDTH = 460
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="package")
def standin() -> Iterator[Any]:
    pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
    pytest.importorskip(
        "PySide6.QtWidgets", reason="PySide6 cannot be used: pip install 'hlfd[dev]'", exc_type=ImportError
    )
    import standin

    standin.install()
    yield standin
    standin.uninstall()


@pytest.fixture
def own_models(tmp_path, monkeypatch) -> Path:
    """An empty folder for the person's own models."""
    folder = tmp_path / "own models"
    monkeypatch.setenv("HLFD_MODELS", str(folder))
    return folder


@pytest.fixture
def slots_that_failed(monkeypatch) -> list[BaseException]:
    """Errors in slots, which Qt prints and forgets."""
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(error))
    return seen


@pytest.fixture
def desktop(standin, own_models, slots_that_failed) -> Iterator[Any]:
    """Slicer with a main window."""
    started = standin.Desktop()
    yield started
    started.close()
    assert slots_that_failed == []


@pytest.fixture
def person(desktop) -> Iterator[Person]:
    """Somebody who opened the module."""
    somebody = Person(desktop)
    yield somebody
    vars(somebody).clear()


class Person:
    """Clicks, picks and waits.

    ``longest_block`` is the longest time in seconds in which Qt could not react, ``longest_work`` the part of such a
    time in which this thread really worked: on a machine that others use too, the rest is waiting for them.
    """

    def __init__(self, desktop: Any) -> None:
        import ctk
        import qt

        self.desktop = desktop
        self.longest_block = self.longest_work = 0.0
        self.dialogs, self.files = ctk.ctkMessageBox, qt.QFileDialog
        self.dialogs.answers, self.dialogs.shown, self.files.answers = [], [], []
        self.module = desktop.load("HLFDSegment", PROJECT / "HLFDSegment")
        self.window = self.module.widgetRepresentation()
        self.widget.enter()
        self.window.show()

    @property
    def widget(self) -> Any:
        return self.window.self()

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def ui(self) -> Any:
        return self.widget.ui

    def load_ct(self, path: Path = SAMPLE, name: str = "CT", every: int = 2) -> Any:
        """Load a CT, of which ``every`` other voxel along each axis is enough to be quick, and return its node."""
        from hlfd.io import read_volume
        from hlfd.volume import Volume
        from HLFDSegmentLib.volumes import volume_to_node

        whole = read_volume(path)
        affine = whole.affine @ np.diag([every, every, every, 1.0])
        part = Volume(np.ascontiguousarray(whole.array[::every, ::every, ::every]), affine, name)
        return volume_to_node(self.desktop.scene, part, name)

    def click(self, button: Any) -> None:
        assert button.enabled, f"{button.name} cannot be clicked"
        button.click()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let Qt work until the condition holds, and note how long it was kept from working."""
        from PySide6.QtCore import QEventLoop
        from PySide6.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s: {self.ui.stageLabel.text} {self.dialogs.shown}"
            begin, worked = time.perf_counter(), time.thread_time()
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents)
            self.longest_block = max(self.longest_block, time.perf_counter() - begin)
            self.longest_work = max(self.longest_work, time.thread_time() - worked)
            time.sleep(0.002)

    def segment(self, seconds: float = 60.0) -> None:
        """Click the button and wait for the end."""
        self.click(self.ui.runButton)
        self.wait_for_end(seconds)

    def wait_for_end(self, seconds: float = 60.0) -> None:
        self.wait_until(lambda: self.ui.runButton.enabled, seconds)

    def lesions(self) -> list[list[str]]:
        """Return the rows of the table of results that can be clicked."""
        table = self.ui.lesionTable
        rows = range(table.rowCount)
        texts = [[table.item(row, column).text() for column in range(table.columnCount)] for row in rows]
        return [cells for cells in texts if cells[0][0].isdigit()]

    def picture(self, name: str, widget: Any = None) -> Path | None:
        """Save what the panel looks like to the folder HLFD_PICTURES, if it is set."""
        folder = os.environ.get("HLFD_PICTURES")
        if not folder:
            return None
        path = Path(folder) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = widget or self.window
        for _ in range(3):  # labels that wrap need their width first
            height = max(shown.sizeHint().height(), shown.heightForWidth(PANEL_WIDTH))
            shown.resize(PANEL_WIDTH, height)
            self.desktop.process_events()
        shown.grab().save(str(path))
        return path
