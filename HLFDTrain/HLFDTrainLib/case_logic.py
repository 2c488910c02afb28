"""Collecting cases without blocking the application: start, poll, and signals.

The folder of the project is the truth. Everything that takes long runs in the warm worker or in a thread, and arrives
in ``poll()``, which the owner of the scene calls from its own thread (a QTimer in Slicer)::

    logic = CaseLogic(scene, jobs)             # hlfd.jobs.Jobs, may be the one that HLFD Segment uses
    logic.changed.connect(on_changed)          # logic.project and logic.cases are new: show the list again
    logic.case_added.connect(on_added)         # CaseInfo
    logic.case_updated.connect(on_updated)     # CaseInfo
    logic.stage.connect(on_stage)              # a word for what is being done, or the case that is worked on
    logic.progress.connect(on_progress)        # done, total, seconds left or None
    logic.warned.connect(on_warned)            # a sentence
    logic.finished.connect(on_finished)        # name of the task: "add", "import", ...; its result
    logic.failed.connect(on_failed)            # HlfdError: code, message, remedy
    logic.open(folder)  or  logic.create(folder, "kidney", "My cases")
    mapping = logic.suggest_mapping(segmentation_node)    # {segment id: label name or ""}, for the user to correct
    logic.add(volume_node, segmentation_node, mapping, title)
    timer -> logic.poll()                      # at most some ten milliseconds
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import slicer

from hlfd.config import look_up
from hlfd.errors import HlfdError, InputError, UsageError
from hlfd.events import Event, Progress, Stage, Warn
from hlfd.jobs import Jobs
from hlfd.jobs.courier import Courier
from hlfd.models.registry import find
from hlfd.project import ROLES, CaseInfo, Project, SegmentDescription, match_segments
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.volumes import node_affine
from HLFDTrainLib import scene_cases
from HLFDTrainLib.loaded_cases import case_into_scene
from HLFDTrainLib.steps import Steps, Task, in_thread, in_worker

PROJECT_ATTRIBUTE, CASE_ATTRIBUTE = "HLFD.Project", "HLFD.Case"
_CLOSE_S = 2.0


class CaseLogic:
    """The project that is open, and one task on it at a time: a second one raises ``UsageError``.

    Each task ends with exactly one of ``finished(task, result)`` or ``failed(error)`` (code "cancelled" after
    ``cancel()``). Results by task: "open", "create", "reload": Project; "add", "update", "set_role", "set_title":
    CaseInfo; "import": {"added": [CaseInfo], "refused": {case: reason}}; "check": list of {"id", "ok", "findings":
    [{"level", "message"}], ...} as in hlfd.data.check; "remove": Path; "load_case": (volume node, segmentation node);
    "suggest": list of rows, the one to label first in front, see ``hlfd.project.suggest``.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, jobs: Jobs) -> None:
        self.changed = Signal()
        self.case_added = Signal("info")
        self.case_updated = Signal("info")
        self.stage = Signal("name")
        self.progress = Signal("done", "total", "seconds_left")
        self.warned = Signal("message")
        self.finished = Signal("task", "result")
        self.failed = Signal("error")
        self.project: Project | None = None
        self.jobs = jobs
        self._scene = scene
        self._courier = Courier()
        self._steps = Steps(self._on_end)

    @property
    def cases(self) -> tuple[CaseInfo, ...]:
        """The cases of the open project; none where no project is open."""
        return self.project.cases if self.project is not None else ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that a segment can be mapped to."""
        return tuple(label.name for label in self.project.labels) if self.project is not None else ()

    @property
    def task(self) -> str:
        """The task that is under way, empty where there is none."""
        return self._steps.name

    def create(self, folder: Path | str, model: str, name: str = "") -> None:
        """Make a project for the labels of a model (``name`` or ``name/version``) and open it."""
        self._start("create", self._opening(lambda: Project.create(folder, find(model, verify=False), name)))

    def open(self, folder: Path | str) -> None:
        """Open a project; the one that was open stays where that fails."""
        self._start("open", self._opening(lambda: Project.open(folder)))

    def reload(self) -> None:
        """Read the cases again, as after a change by another program."""
        folder = self._opened().folder
        self._start("reload", self._opening(lambda: Project.open(folder)))

    def segments(self, segmentation_node: slicer.vtkMRMLSegmentationNode) -> list[SegmentDescription]:
        """Return what the segments of a node say about themselves."""
        return scene_cases.describe_segments(segmentation_node)

    def suggest_mapping(self, segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
        """Return a label name, or "" for "leave out", for each segment id: what was chosen before, else what fits."""
        found = match_segments(self.segments(segmentation_node), self._opened().labels)
        known = scene_cases.remembered_mapping(segmentation_node, self.label_names)
        return {key: known.get(key, name) for key, name in found.items()}

    def case_of(self, node: slicer.vtkMRMLNode) -> CaseInfo | None:
        """Return the case of the open project that a node was added as or loaded from."""
        if self.project is None or node.GetAttribute(PROJECT_ATTRIBUTE) != str(self.project.folder):
            return None
        case_id = node.GetAttribute(CASE_ATTRIBUTE)
        return next((case for case in self.cases if case.id == case_id), None)

    def add(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        mapping: Mapping[str, str] | None = None,
        title: str = "",
        role: str = "train",
        identifiers: bool = False,
    ) -> None:
        """Add a case; what is wrong with the nodes is raised at once, what is wrong with the voxels is ``failed``.

        Without ``mapping`` every segment must fit a label by itself. ``identifiers`` copies what the volume knows of
        its DICOM instances into the case; nothing of it is copied otherwise.
        """
        project = self._opened()
        look_up(role, ROLES, "role")
        scene_cases.check_volume(volume_node)
        used = self._used(segmentation_node, mapping)
        trusted, odd = scene_cases.drawn_on(segmentation_node, volume_node)
        arguments = {
            "project": str(project.folder),
            "affine": node_affine(volume_node, world=True).tolist(),
            "title": title,
            "role": role,
            "source": _source(volume_node, identifiers),
            "drawn_on_image": trusted,
        }
        self._start("add", self._adding(volume_node, segmentation_node, used, arguments))
        if odd:
            self.warned.emit(odd)

    def update(
        self,
        case_id: str,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        mapping: Mapping[str, str] | None = None,
    ) -> None:
        """Give a case the labels of a segmentation, which must lie on the image of the case."""
        project = self._opened()
        project.case(case_id)
        used = self._used(segmentation_node, mapping)
        reference = scene_cases.reference_volume(segmentation_node)
        trusted = reference is not None and self.case_of(reference) == project.case(case_id)
        arguments = {"project": str(project.folder), "case": case_id, "drawn_on_image": trusted}
        self._start("update", self._updating(segmentation_node, used, arguments))

    def check_folder(self, folder: Path | str, values: Mapping[int, str] | None = None) -> None:
        """Look at a data set before it is imported; the report is the result."""
        self._start("check", self._importing(folder, values, True))

    def import_folder(self, folder: Path | str, values: Mapping[int, str] | None = None) -> None:
        """Add the cases of a data set in a known layout; ``values`` names the label of each value of its maps."""
        self._start("import", self._importing(folder, values, False))

    def remove(self, case_id: str) -> None:
        """Take a case out of the project; its files go to the project's folder ``removed``."""
        self._change("remove", lambda project: project.remove(case_id))

    def set_role(self, case_id: str, role: str) -> None:
        """Say what a case is for, see ``hlfd.project.ROLES``."""
        self._change("set_role", lambda project: project.set_role(case_id, role))

    def set_title(self, case_id: str, title: str) -> None:
        """Name a case."""
        self._change("set_title", lambda project: project.set_title(case_id, title))

    def load_case(self, case_id: str) -> None:
        """Put image and labels of a case into the scene; the nodes are the result."""
        self._start("load_case", self._loading(self._opened().case(case_id)))

    def suggest(
        self,
        folder: Path | str,
        model: str = "",
        teacher: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Order the CTs of a folder by how unsure the student is; those that are cases already are left out.

        ``model`` is that of the project by default; with ``teacher`` what the two disagree on counts too.
        """
        project = self._opened()
        arguments = {"project": str(project.folder), "folder": str(folder), "teacher": teacher}
        chosen = {**(settings or {}), "model": model or project.model}
        self._start("suggest", self._suggesting({**arguments, "settings": chosen}))

    def cancel(self) -> None:
        """Stop the task; ``failed`` with the code "cancelled" follows within a second."""
        self._steps.cancel()

    def poll(self) -> str:
        """Take in what was done, emit signals, and return the task that is under way."""
        return self._steps.poll()

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until the task has ended, for scripts; return False if it has not within ``timeout`` seconds."""
        return self._steps.wait(timeout)

    def close(self) -> None:
        """Cancel, for application exit; the jobs are closed by whoever made them."""
        self.cancel()
        self.wait(_CLOSE_S)
        self._courier.close(_CLOSE_S)

    def _opened(self) -> Project:
        if self.project is None:
            raise UsageError("No project is open.", "Open or make one first.")
        return self.project

    def _used(
        self, segmentation_node: slicer.vtkMRMLSegmentationNode | None, mapping: Mapping[str, str] | None
    ) -> dict[str, str]:
        if segmentation_node is None:
            raise InputError("No segmentation was chosen.", "Choose the segmentation of the image.")
        self._opened()
        segments = self.segments(segmentation_node)
        if mapping is not None:
            return scene_cases.check_mapping(segments, mapping, self.label_names, [one.id for one in segments])
        known = scene_cases.remembered_mapping(segmentation_node, self.label_names)
        return scene_cases.check_mapping(segments, self.suggest_mapping(segmentation_node), self.label_names, known)

    def _start(self, name: str, task: Task) -> None:
        self._steps.start(name, task)

    def _on_end(self, name: str, result: Any, error: HlfdError | None) -> None:
        if error is not None:
            self.failed.emit(error)
            return
        if name == "add":
            self.case_added.emit(result)
        elif name in ("update", "set_role", "set_title"):
            self.case_updated.emit(result)
        self.finished.emit(name, result)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.progress.emit(event.done, event.total, event.seconds_left)
        elif isinstance(event, Stage):
            self.stage.emit(event.name)
        elif isinstance(event, Warn):
            self.warned.emit(event.message)

    def _opening(self, work: Callable[[], Project]) -> Task:
        project = yield from in_thread(self._courier, work)
        self.project = project
        self.changed.emit()
        return project

    def _reread(self) -> Task:
        """Read the project again after a job: also one that failed may have changed it."""
        folder = self._opened().folder
        return (yield from self._opening(lambda: Project.open(folder)))

    def _change(self, name: str, work: Callable[[Project], Any]) -> None:
        folder = self._opened().folder

        def task() -> Task:
            def change() -> tuple[Project, Any]:
                project = Project.open(folder)
                return project, work(project)

            self.project, result = yield from in_thread(self._courier, change)
            self.changed.emit()
            return result

        self._start(name, task())

    def _job(self, kind: str, arguments: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> Task:
        """Run a job that may change the project and return its answer."""
        try:
            job = yield from in_worker(self.jobs, kind, arguments, arrays, self._on_event)
        except HlfdError:
            yield from self._reread()
            raise
        yield from self._reread()
        job.release()
        return job.result

    def _case(self, answer: Mapping[str, Any]) -> CaseInfo:
        return self._opened().case(str(answer["id"]))

    def _adding(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        segmentation_node: slicer.vtkMRMLSegmentationNode,
        used: Mapping[str, str],
        arguments: dict[str, Any],
    ) -> Task:
        self.stage.emit("copy")
        drawn = yield from scene_cases.draw_labels(segmentation_node, used, self._opened().labels)
        values = yield from scene_cases.copy_volume(volume_node)
        arguments["label_affine"] = drawn.affine.tolist()
        answer = yield from self._job("case_add", arguments, {"volume": values, "labels": drawn.labels})
        info = self._case(answer["case"])
        for node in (volume_node, segmentation_node):
            self._note(node, info)
        scene_cases.remember_mapping(segmentation_node, used)
        return info

    def _updating(
        self, segmentation_node: slicer.vtkMRMLSegmentationNode, used: Mapping[str, str], arguments: dict[str, Any]
    ) -> Task:
        drawn = yield from scene_cases.draw_labels(segmentation_node, used, self._opened().labels)
        arguments["label_affine"] = drawn.affine.tolist()
        answer = yield from self._job("case_update", arguments, {"labels": drawn.labels})
        info = self._case(answer["case"])
        self._note(segmentation_node, info)
        scene_cases.remember_mapping(segmentation_node, used)
        return info

    def _importing(self, folder: Path | str, values: Mapping[int, str] | None, check: bool) -> Task:
        named = None if values is None else {str(value): name for value, name in values.items()}
        arguments = {"project": str(self._opened().folder), "folder": str(folder), "values": named, "check": check}
        answer = yield from self._job("case_import", arguments)
        if check:
            return answer["reports"]
        return {"added": [self._case(case) for case in answer["added"]], "refused": answer["refused"]}

    def _loading(self, info: CaseInfo) -> Task:
        project = self._opened()
        arguments = {"project": str(project.folder), "case": info.id}
        job = yield from in_worker(self.jobs, "case_load", arguments, None, self._on_event)
        try:
            nodes = yield from case_into_scene(self._scene, info, project.labels, job.result, job.arrays)
        finally:
            job.release()
        for node in nodes:
            self._note(node, info)
        return nodes

    def _suggesting(self, arguments: Mapping[str, Any]) -> Task:
        job = yield from in_worker(self.jobs, "suggest", arguments, None, self._on_event)
        job.release()
        return job.result["rows"]

    def _note(self, node: slicer.vtkMRMLNode, info: CaseInfo) -> None:
        if node.GetScene() is self._scene:
            node.SetAttribute(PROJECT_ATTRIBUTE, str(self._opened().folder))
            node.SetAttribute(CASE_ATTRIBUTE, info.id)


def _source(volume_node: slicer.vtkMRMLScalarVolumeNode, identifiers: bool) -> dict[str, str]:
    instances = volume_node.GetAttribute("DICOM.instanceUIDs") or ""
    return {"kind": "scene", **({"dicom_instances": instances} if identifiers and instances else {})}
