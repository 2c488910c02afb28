"""Collecting cases without blocking the application: start, poll, and signals.

The folder of the project is the truth. Everything that takes long runs in the warm worker or in a thread, and arrives
in ``poll()``, which the owner of the scene calls from its own thread (a QTimer in Slicer)::

    logic = CaseLogic(scene, jobs)             # hlfd.jobs.Jobs, may be the one that HLFD Segment uses
    logic.changed.connect(on_changed)          # logic.project and logic.cases are new: show the list again
    logic.case_added.connect(on_added)         # CaseInfo
    logic.case_updated.connect(on_updated)     # CaseInfo
    logic.progress.connect(on_progress)        # done, total, seconds left or None
    logic.finished.connect(on_finished)        # name of the task: "add", "import", ...; its result
    logic.failed.connect(on_failed)            # HlfdError: code, message, remedy
    logic.open(folder)  or  logic.create(folder, "kidney", "My cases")
    mapping = logic.suggest_mapping(segmentation_node)    # {segment id: label name or ""}, for the user to correct
    logic.add(volume_node, segmentation_node, mapping, title)
    timer -> logic.poll()                      # at most some ten milliseconds
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer

from hlfd.jobs import Jobs
from hlfd.project import CaseInfo, Project, SegmentDescription
from HLFDSegmentLib.signals import Signal


class CaseLogic:
    """The project that is open, and one task on it at a time: a second one raises ``UsageError``.

    Each task ends with exactly one of ``finished(task, result)`` or ``failed(error)`` (code "cancelled" after
    ``cancel()``). Results by task: "open", "create": None; "add", "update": CaseInfo; "import": {"added": [CaseInfo],
    "refused": {case: reason}}; "check": list of {"id", "ok", "findings": [{"level", "message"}], ...} as in
    hlfd.data.check; "remove": Path; "set_role": CaseInfo; "load_case": (volume node, segmentation node);
    "suggest": list of rows, best first: {"path", "name", "score", "entropy", "disagreement", "note"}.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, jobs: Jobs) -> None:
        self.changed = Signal()
        self.case_added = Signal("info")
        self.case_updated = Signal("info")
        self.progress = Signal("done", "total", "seconds_left")
        self.warned = Signal("message")
        self.finished = Signal("task", "result")
        self.failed = Signal("error")
        self.project: Project | None = None

    @property
    def cases(self) -> tuple[CaseInfo, ...]:
        """The cases of the open project; none where no project is open."""
        raise NotImplementedError

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that a segment can be mapped to."""
        raise NotImplementedError

    @property
    def task(self) -> str:
        """The task that is under way, empty where there is none."""
        raise NotImplementedError

    def create(self, folder: Path, model: str, name: str = "") -> None:
        """Make a project for the labels of a model (``name`` or ``name/version``) and open it."""
        raise NotImplementedError

    def open(self, folder: Path) -> None:
        """Open a project."""
        raise NotImplementedError

    def reload(self) -> None:
        """Read the cases again, as after a change by another program."""
        raise NotImplementedError

    def segments(self, segmentation_node: slicer.vtkMRMLSegmentationNode) -> list[SegmentDescription]:
        """Return what the segments of a node say about themselves."""
        raise NotImplementedError

    def suggest_mapping(self, segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
        """Return a label name, or "" for "leave out", for each segment id."""
        raise NotImplementedError

    def case_of(self, node: slicer.vtkMRMLNode) -> CaseInfo | None:
        """Return the case of the open project that a node was added as or loaded from."""
        raise NotImplementedError

    def add(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        mapping: Mapping[str, str] | None = None,
        title: str = "",
        role: str = "train",
    ) -> None:
        """Add a case; what is wrong with the nodes is raised at once, what is wrong with the voxels is ``failed``."""
        raise NotImplementedError

    def update(
        self,
        case_id: str,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        mapping: Mapping[str, str] | None = None,
    ) -> None:
        """Give a case the labels of a segmentation."""
        raise NotImplementedError

    def check_folder(self, folder: Path, values: Mapping[int, str] | None = None) -> None:
        """Look at a data set before it is imported; the report is the result."""
        raise NotImplementedError

    def import_folder(self, folder: Path, values: Mapping[int, str] | None = None) -> None:
        """Add the cases of a data set in a known layout."""
        raise NotImplementedError

    def remove(self, case_id: str) -> None:
        """Take a case out of the project; its files go to the project's folder ``removed``."""
        raise NotImplementedError

    def set_role(self, case_id: str, role: str) -> None:
        """Say what a case is for, see ``hlfd.project.ROLES``."""
        raise NotImplementedError

    def load_case(self, case_id: str) -> None:
        """Put image and labels of a case into the scene; the nodes are the result."""
        raise NotImplementedError

    def suggest(
        self, folder: Path | None, model: str = "", teacher: str = "", settings: Mapping[str, Any] | None = None
    ) -> None:
        """Order the CTs of a folder by how unsure the student is; those that are cases already are left out."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop the task; ``failed`` with the code "cancelled" follows within a second."""
        raise NotImplementedError

    def poll(self) -> str:
        """Take in what was done, emit signals, and return the task that is under way."""
        raise NotImplementedError

    def close(self) -> None:
        """Cancel, for application exit; the jobs are closed by whoever made them."""
        raise NotImplementedError
