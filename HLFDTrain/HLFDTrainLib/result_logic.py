"""The outcome of a training in the scene: a table of before and after, and one case with old, new and reference.

::

    logic = ResultLogic(scene)
    logic.shown.connect(...)             # case id: its images are in the views
    logic.exported.connect(...)          # path
    logic.failed.connect(...)            # HlfdError
    table = logic.table(result)          # vtkMRMLTableNode, a row per case and label, the means last
    logic.show_case(result, "case-0003") # read in a thread; the views come with poll()
    logic.register(run)                  # in a thread; registered(package)
    logic.export(run, "zip", path)       # in a thread; bundles by the worker
    timer -> logic.poll()
    logic.leave()                        # the user's layout again
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer

from hlfd.errors import HlfdError, UsageError
from hlfd.io import read_label_map, read_volume
from hlfd.jobs import Job, Jobs
from hlfd.jobs.job import State as JobState
from hlfd.models.registry import find
from hlfd.runs import Run, export, register
from HLFDSegmentLib.signals import Signal
from HLFDTrainLib.compare_view import CompareView
from HLFDTrainLib.result_table import ResultTable

SIDES = ("before", "after", "reference")


class ResultLogic:
    """Shows results, and adds their packages to the user's models; one task at a time, the rest raises ``UsageError``.

    Each task ends with its own signal or ``failed(error)``, from ``poll()``.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, jobs: Jobs | None = None) -> None:
        self.shown = Signal("case")
        self.registered = Signal("package")
        self.exported = Signal("path")
        self.failed = Signal("error")
        self.jobs = jobs
        self._table = ResultTable(scene)
        self._view = CompareView(scene)
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._busy = False
        self._job: tuple[Job, Path] | None = None

    def table(self, result: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
        """Write the numbers of before and after into a table node and return it."""
        return self._table.fill(result)

    def show_case(self, result: Mapping[str, Any], case: str) -> None:
        """Show the image of a held-out case three times: with the old, the new and the reference segmentation."""
        files = result["predictions"].get(case)
        if files is None:
            raise UsageError(f"There are no segmentations of {case}.", "Choose one of the held-out cases.")

        def work() -> Callable[[], None]:
            volume = read_volume(Path(files["image"]))
            labels = find(str(result["package"]), verify=False).labels
            maps = {side: read_label_map(Path(files[side]), labels) for side in SIDES}

            def show() -> None:
                self._view.show(case, volume, maps)
                self.shown.emit(case)

            return show

        self._start(work)

    def register(self, run: Run) -> None:
        """Add the new package to the user's models; ``registered`` follows."""

        def work() -> Callable[[], None]:
            package = register(run)
            return lambda: self.registered.emit(package)

        self._start(work)

    def export(self, run: Run, target: str, out: Path) -> None:
        """Write the new package as ``zip``, or in the worker as ``bundle``, ``onnx`` or ``openvino``."""
        if target != "zip" and self.jobs is not None:
            package = str(run.result()["package"])
            arguments = {"package": package, "target": target, "out": str(out)}
            self._job = self.jobs.submit("export", arguments), Path(out)
            return

        def work() -> Callable[[], None]:
            path = export(run, target, out)
            return lambda: self.exported.emit(path)

        self._start(work)

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return self._busy or self._job is not None

    def poll(self) -> None:
        """Bring what was done into the scene."""
        try:
            answer = self._answers.get_nowait()
        except queue.Empty:
            answer = None
        if answer is not None:
            self._busy = False
            if isinstance(answer, HlfdError):
                self.failed.emit(answer)
            else:
                answer()
        self._poll_job()

    def leave(self) -> None:
        """Take the case out of the scene and restore the user's layout."""
        self._view.leave()

    def close(self) -> None:
        """Leave, for application exit."""
        self.leave()
        self._table.remove()

    def _start(self, work: Callable[[], Callable[[], None]]) -> None:
        if self.busy:
            raise UsageError("Something is being done already.", "Wait for it.")
        self._busy = True
        threading.Thread(target=_answer, args=(work, self._answers.put), name="hlfd-result", daemon=True).start()

    def _poll_job(self) -> None:
        if self._job is None or self.jobs is None:
            return
        self.jobs.poll()
        job, out = self._job
        if not job.finished:
            return
        self._job = None
        if job.state is JobState.DONE:
            self.exported.emit(out)
        else:
            self.failed.emit(job.error or HlfdError("The export was cancelled."))
        job.release()


def _answer(work: Callable[[], Callable[[], None]], put: Callable[[object], None]) -> None:
    try:
        put(work())
    except HlfdError as error:
        put(error)
    except Exception as error:  # in a thread: whatever it is, the user hears of it
        put(HlfdError(f"That stopped with an unexpected {type(error).__name__}: {error}.", "See the log."))
