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

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer

from hlfd.errors import HlfdError, UsageError
from hlfd.events import ignore
from hlfd.io import read_label_map, read_volume
from hlfd.jobs import Jobs
from hlfd.jobs.courier import Courier
from hlfd.models.registry import find
from hlfd.runs import Run, export, register
from hlfd.volume import LabelMap, Volume
from HLFDSegmentLib.label_arrays import Part, labelled_part
from HLFDSegmentLib.signals import Signal
from HLFDTrainLib.compare_view import CompareView
from HLFDTrainLib.result_table import ResultTable
from HLFDTrainLib.steps import Steps, Task, in_thread, in_worker

SIDES = ("before", "after", "reference")
_CLOSE_S = 2.0


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
        self._courier = Courier()
        self._steps = Steps(self._on_end)
        self._done: Signal = self.shown

    def table(self, result: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
        """Write the numbers of before and after into a table node and return it."""
        return self._table.fill(result)

    def show_case(self, result: Mapping[str, Any], case: str) -> None:
        """Show the image of a held-out case three times: with the old, the new and the reference segmentation."""
        files = result["predictions"].get(case)
        if files is None:
            raise UsageError(f"There are no segmentations of {case}.", "Choose one of the held-out cases.")
        self._start(self.shown, self._showing(case, dict(files), str(result["package"])))

    def register(self, run: Run) -> None:
        """Add the new package to the user's models; ``registered`` follows."""
        self._start(self.registered, in_thread(self._courier, lambda: register(run)))

    def export(self, run: Run, target: str, out: Path) -> None:
        """Write the new package as ``zip``, or in the worker as ``bundle``, ``onnx`` or ``openvino``."""
        if target != "zip" and self.jobs is not None:
            package = str(run.result()["package"])
            self._start(self.exported, self._exporting({"package": package, "target": target, "out": str(out)}))
        else:
            self._start(self.exported, in_thread(self._courier, lambda: export(run, target, out)))

    @property
    def busy(self) -> bool:
        """Whether a task is under way."""
        return bool(self._steps.name)

    def poll(self) -> None:
        """Go on with the task for some milliseconds, and bring what was done into the scene."""
        self._steps.poll()

    def leave(self) -> None:
        """Take the case out of the scene and restore the user's layout."""
        if self._done is self.shown:
            self._steps.cancel()
        self._view.leave()

    def close(self) -> None:
        """Leave, for application exit."""
        self._steps.cancel()
        self._steps.wait(_CLOSE_S)
        self._courier.close(_CLOSE_S)
        self.leave()
        self._table.remove()

    def _start(self, done: Signal, task: Task) -> None:
        if self.busy:
            raise UsageError("Something is being done already.", "Wait for it.")
        self._done = done
        self._steps.start("result", task)

    def _showing(self, case: str, files: Mapping[str, str], package: str) -> Task:
        volume, label_maps, parts = yield from in_thread(self._courier, lambda: _read(files, package))
        yield from self._view.show(case, volume, label_maps, parts)
        return case

    def _exporting(self, arguments: Mapping[str, Any]) -> Task:
        job = yield from in_worker(self.jobs, "export", arguments, None, ignore)
        job.release()
        return Path(arguments["out"])

    def _on_end(self, name: str, result: Any, error: HlfdError | None) -> None:
        if error is None:
            self._done.emit(result)
        elif error.code != "cancelled":
            self.failed.emit(error)


def _read(files: Mapping[str, str], package: str) -> tuple[Volume, dict[str, LabelMap], dict[str, Part]]:
    """Read what is shown of a case, and find what is labelled; takes seconds for whole scans."""
    labels = find(package, verify=False).labels
    maps = {side: read_label_map(Path(files[side]), labels) for side in SIDES}
    return read_volume(Path(files["image"])), maps, {side: labelled_part(one) for side, one in maps.items()}
