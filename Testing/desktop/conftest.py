"""Slicer's desktop for tests: off screen, on the real scene, driven by a person who clicks and waits."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
SAMPLE = PROJECT / "HLFDSegment" / "Resources" / "HLFDSegment" / "Samples" / "sample_ct.nii.gz"
PANEL_WIDTH = 460
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="package")
def standin(tmp_path_factory) -> Iterator[Any]:
    pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
    pytest.importorskip(
        "PySide6.QtWidgets", reason="PySide6 cannot be used: pip install 'hlfd[dev]'", exc_type=ImportError
    )
    import standin
    from PySide6.QtCore import QSettings

    own = str(tmp_path_factory.mktemp("settings"))  # of these tests alone, also where others run at the same time
    QSettings.setPath(QSettings.Format.NativeFormat, QSettings.Scope.UserScope, own)
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
    if vars(started):  # not closed by the person
        started.close()
    assert slots_that_failed == []


@pytest.fixture
def person(desktop) -> Iterator[Person]:
    """Somebody who opened the module."""
    somebody = Person(desktop)
    yield somebody
    vars(somebody).clear()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A folder of models with ``tiny/1.0.0`` alone."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")
    from Testing.tiny_training import write_tiny_model

    folder = tmp_path_factory.mktemp("small model")
    write_tiny_model(folder, with_teacher=True)
    return folder


@pytest.fixture
def trainer(small_model, desktop, own_models, tmp_path, monkeypatch) -> Iterator[Trainer]:
    """Somebody who opened HLFD Train for the first time, with a small model of their own."""
    import slicer

    monkeypatch.setenv("HLFD_RUN_LOCK", str(tmp_path / "one training.lock"))
    slicer.app.userSettings().remove("HLFDTrain/Project")
    shutil.copytree(small_model, own_models)
    somebody = Trainer(desktop)
    yield somebody
    somebody.stop()
    vars(somebody).clear()


class Person:
    """Clicks, picks and waits.

    ``longest_block`` is the longest time in seconds in which Qt could not react, ``longest_work`` the part of such a
    time in which this thread really worked: on a machine that others use too, the rest is waiting for them.
    """

    modules = ("HLFDSegment",)  # the last one is looked at

    def __init__(self, desktop: Any) -> None:
        import ctk
        import qt

        self.desktop = desktop
        self.longest_block = self.longest_work = 0.0
        self.dialogs, self.files = ctk.ctkMessageBox, qt.QFileDialog
        self.dialogs.answers, self.dialogs.shown, self.files.answers = [], [], []
        self.module = [desktop.load(name, PROJECT / name) for name in self.modules][-1]
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
        with self.noting_blocks():
            button.click()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let Qt work until the condition holds, and note how long it was kept from working."""
        from PySide6.QtCore import QEventLoop
        from PySide6.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s: {self.doing()} {self.dialogs.shown}"
            with self.noting_blocks():
                QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents)
            time.sleep(0.002)

    @contextmanager
    def noting_blocks(self) -> Iterator[None]:
        """Note how long Qt is kept from working by what is done meanwhile."""
        begin, worked = time.perf_counter(), time.thread_time()
        yield
        self.longest_block = max(self.longest_block, time.perf_counter() - begin)
        self.longest_work = max(self.longest_work, time.thread_time() - worked)

    def doing(self) -> str:
        """Return what the panel says it is doing."""
        return self.ui.stageLabel.text

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


class Trainer(Person):
    """Collects cases and trains on them."""

    modules = ("HLFDSegment", "HLFDTrain")

    def doing(self) -> str:
        return f"{self.ui.caseStage.text} / {self.ui.runStage.text}"

    def create_project(self, folder: Path, model: str = "tiny/1.0.0") -> Path:
        """Make a project whose cases have the labels of the small model."""
        self.ui.projectPath.currentPath = str(folder)
        choices = [self.ui.projectModel.itemText(index) for index in range(self.ui.projectModel.count)]
        self.ui.projectModel.setCurrentIndex(next(n for n, caption in enumerate(choices) if model in caption))
        self.click(self.ui.projectButton)
        self.wait_for_task()
        assert self.dialogs.shown == []
        return folder

    def draw_case(self, number: int = 0, name: str = "CT") -> tuple[Any, Any]:
        """Put a CT and what was drawn on it into the scene, and return both nodes."""
        from HLFDSegmentLib.segmentations import segmentation_from_label_map
        from HLFDSegmentLib.volumes import volume_to_node
        from Testing import tiny_training

        volume, labels = tiny_training.draw_case(number)
        volume_node = volume_to_node(self.desktop.scene, volume, name)
        return volume_node, segmentation_from_label_map(self.desktop.scene, labels, volume_node)

    def choose(self, volume_node: Any, segmentation_node: Any) -> None:
        self.ui.addVolume.setCurrentNode(volume_node)
        self.ui.addSegmentation.setCurrentNode(segmentation_node)
        count = segmentation_node.GetSegmentation().GetNumberOfSegments()
        self.wait_until(lambda: self.ui.mappingTable.rowCount == count)

    def wait_for_task(self, seconds: float = 60.0) -> None:
        self.wait_until(lambda: not self.panel.cases.task, seconds)

    def add_case(self, number: int = 0, title: str = "", role: int = 0) -> None:
        """Draw a case and add it."""
        nodes = self.draw_case(number)
        self.choose(*nodes)
        self.ui.addTitle.text = title or f"scan {number}"
        self.ui.addRole.setCurrentIndex(role)
        self.click(self.ui.addButton)
        self.wait_for_task()
        assert self.dialogs.shown == []

    def rows(self, table: Any) -> list[list[str]]:
        """Return the texts of a table."""
        cells = [[table.item(row, column) for column in range(table.columnCount)] for row in range(table.rowCount)]
        return [[cell.text() if cell is not None else "" for cell in row] for row in cells]

    def select_case(self, row: int) -> None:
        self.ui.caseTable.selectRow(row)

    def leave(self) -> None:
        """Close Slicer; this person is gone then."""
        desktop = self.desktop
        vars(self).clear()  # what is of Qt must go with Slicer
        desktop.close()

    def stop(self) -> None:
        """End the training that is still at work, if there is one."""
        from hlfd.runs import running_anywhere

        run = running_anywhere()
        if run is not None:
            run.kill()
