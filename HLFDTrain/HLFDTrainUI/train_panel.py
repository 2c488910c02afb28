"""The panel of the module: its sections, the two logics behind them, and the timers that carry news between both."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError
from hlfd.jobs import Jobs
from hlfd.project import Project
from HLFDSegmentUI.device_section import DeviceSection
from HLFDSegmentUI.dialogs import show_error
from HLFDSegmentUI.log_section import LogSection
from HLFDSegmentUI.parameters import Connection
from HLFDSegmentUI.setup_section import SetupSection
from HLFDTrainLib.case_logic import CaseLogic
from HLFDTrainLib.ct_loader import CtLoader
from HLFDTrainLib.train_logic import TrainLogic
from HLFDTrainUI.add_section import AddSection
from HLFDTrainUI.cases_section import CasesSection
from HLFDTrainUI.import_section import ImportSection
from HLFDTrainUI.parameters import TrainParameters
from HLFDTrainUI.project_section import ProjectSection
from HLFDTrainUI.result_section import ResultSection
from HLFDTrainUI.run_section import RunSection
from HLFDTrainUI.scratch_section import ScratchSection
from HLFDTrainUI.suggest_section import SuggestSection
from HLFDTrainUI.task_section import TaskSection
from HLFDTrainUI.training_section import TrainingSection

_TASKS_MS = 20  # also gives Python's threads their turns: Slicer's event loop keeps the interpreter lock between ticks
_RUN_MS = 250
_NOTICE_STYLE = "background: #fff3cd; color: #533f03; border: 1px solid #e0c97f; border-radius: 3px; padding: 6px;"


class TrainPanel:
    """Works with the widgets ``ui`` of HLFDTrain.ui; ``requirements_file`` names the packages that are needed."""

    def __init__(self, ui: Any, requirements_file: Path) -> None:
        self._ui = ui
        self._connection: Connection | None = None
        self._probe: Any = None
        self.jobs = Jobs()
        self.cases = CaseLogic(slicer.mrmlScene, self.jobs)
        self.loader = CtLoader(slicer.mrmlScene)
        self.training = TrainLogic(slicer.mrmlScene, self.jobs)
        self._timers = [self._timer(_TASKS_MS, self._on_tasks), self._timer(_RUN_MS, self._on_run)]
        ui.deviceLabel.visible = False
        for label in (ui.noticeLabel, ui.modelNoticeLabel, ui.warningLabel):
            label.setStyleSheet(_NOTICE_STYLE)
        self._log = LogSection(ui, self._details)
        self.setup = SetupSection(ui, requirements_file, self._probe_devices, self.jobs.restart, torch_needed=True)
        self.device = DeviceSection(ui, lambda device: None)
        self.project = ProjectSection(ui, self.cases, self)
        self.list = CasesSection(ui, self.cases, self)
        self.add = AddSection(ui, self.cases, self)
        self.imports = ImportSection(ui, self.cases, self)
        self.settings = TrainingSection(ui, self.device)
        self.suggest = SuggestSection(ui, self.cases, self, lambda: self.settings.model.value or "", self._load_ct)
        self.tasks = TaskSection(ui, self.cases)
        self.run = RunSection(ui, self.training, self)
        self.result = ResultSection(ui, self.training, self)
        self.scratch = ScratchSection(ui, self.training, self)
        self._connect()
        self.show()

    def _connect(self) -> None:
        self.cases.changed.connect(self.show)
        self.cases.warned.connect(self.say)
        self.cases.finished.connect(self._on_task)
        self.cases.failed.connect(self._on_task_failed)
        self.training.state_changed.connect(self._on_state)
        self.loader.loaded.connect(self._on_ct)
        self.loader.failed.connect(show_error)

    def _timer(self, milliseconds: int, on_tick: Any) -> Any:
        timer = qt.QTimer(self._ui.HLFDTrain)  # with a parent: never deleted by Python, which may do so in any thread
        timer.setInterval(milliseconds)
        timer.connect("timeout()", on_tick)
        return timer

    def close(self) -> None:
        """Let go of everything; called on module reload and exit. A training does what its settings say."""
        for timer in self._timers:
            timer.stop()
        self.disconnect_parameters()
        self.add.close()
        self.result.logic.close()
        self.training.close()
        self.loader.close()
        self.cases.close()
        self.jobs.close()

    def enter(self) -> None:
        """Show what is there now: models, the project of last time, and a training that went on meanwhile."""
        self.settings.refresh()
        self.setup.refresh()
        self.project.enter()
        self.show()
        self._probe_devices()

    def connect_parameters(self, node: Any) -> None:
        """Show the nodes in a parameter node, and keep the choice there from now on."""
        if self._connection is None or self._connection.parameters.parameterNode is not node:
            self.disconnect_parameters()
            self._connection = Connection(TrainParameters(node), self._ui, lambda caller, event: None)
        self.add.show()

    def disconnect_parameters(self) -> None:
        """Let go of the parameter node, before it is removed with its scene."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def offer(self, volume_node: Any, segmentation_node: Any) -> None:
        """Show a corrected result as the next case; called by HLFD Segment."""
        self._ui.casesSection.collapsed = self._ui.addSection.collapsed = False
        self.add.choose(volume_node, segmentation_node)

    def begin(self, text: str) -> None:
        """Note that a task begins, and look for its news."""
        self.say(text)
        self.show()
        self._timers[0].start()

    def say(self, text: str) -> None:
        """Write a line into the log."""
        if text:
            self._log.add(text)

    def show(self) -> None:
        """Show what the open project holds, and what can be done next."""
        self.project.show()
        self.list.show()
        self.add.show()
        self.imports.show()
        self.suggest.show()
        self.tasks.show()
        self.run.show()
        self.scratch.show()

    def follow(self) -> None:
        """Look for news of the training from now on."""
        self._timers[1].start()

    def _details(self) -> str:
        run = self.training.run
        return "\n\n".join(filter(None, (run.log_tail() if run is not None else "", self.jobs.log())))

    def _on_project(self, project: Project) -> None:
        self.project.remember()
        self.say(_("Project {folder}").format(folder=project.folder))
        self.settings.refresh(project.model)
        found = self.training.find(project.folder)
        self.run.clear()
        if found is not None:
            self.training.attach(found)
        else:
            self.training.detach()
        self.result.refresh()
        self.show()
        self.follow()

    def _on_tasks(self) -> None:
        self.cases.poll()
        self.loader.poll()
        self.result.logic.poll()
        if self.run.estimating:
            self.training.poll()
        self.jobs.poll()
        self._look_at_probe()
        busy = self.run.estimating or self.result.logic.busy or self.loader.busy or self._probe is not None
        if not self.cases.task and not busy:
            self._timers[0].stop()

    def _on_run(self) -> None:
        state = self.training.poll()
        if state is None or not state.active:  # as it was told: what came since must be told too
            self._timers[1].stop()

    def _on_task(self, task: str, result: Any) -> None:
        self.tasks.show_end("")
        if task in ("open", "create"):
            self._on_project(result)
        elif task == "add":
            self.add.clear()
            self.tasks.show_end(_("Added: {case}.").format(case=result.caption))
        elif task == "update":
            self.tasks.show_end(_("Saved: {case}.").format(case=result.caption))
        elif task == "remove":
            self.tasks.show_end(_("Removed; the files are in {folder}.").format(folder=result))
        elif task == "check":
            self.imports.show_report(result)
        elif task == "import":
            self.imports.show_imported(result)
        elif task == "suggest":
            self.suggest.show_rows(result)
        elif task == "load_case":
            self.list.open_editor(*result)
        self.say(self._ui.caseStage.text)
        self.list.next()
        self.show()

    def _on_task_failed(self, error: HlfdError) -> None:
        self.list.forget()
        self.tasks.show_end(error.message)
        self.say(str(error))
        self.show()
        if error.code != "cancelled":
            show_error(error)

    def _on_state(self, state: Any) -> None:
        self.result.refresh()
        self.show()

    def _load_ct(self, path: Path) -> None:
        self.loader.load(path)
        self.begin(_("Loading {path}...").format(path=path))

    def _on_ct(self, node: Any) -> None:
        logic = slicer.app.applicationLogic()
        logic.GetSelectionNode().SetActiveVolumeID(node.GetID())
        logic.PropagateVolumeSelection()
        self._ui.addVolume.setCurrentNode(node)

    def _probe_devices(self) -> None:
        """Ask the worker what this machine has to compute with."""
        missing = [one.name for one in self.setup.needed]
        text = _("Install what is missing in the section Setup first: {names}.").format(names=", ".join(missing))
        self._ui.noticeLabel.text = text if missing else ""
        self._ui.noticeLabel.visible = bool(missing)
        if not missing and self._probe is None and self.settings.model.value:
            settings = SegmentSettings(model=self.settings.model.value)
            self._probe = self.jobs.submit("probe", {"settings": asdict(settings)})
            self._timers[0].start()

    def _look_at_probe(self) -> None:
        job = self._probe
        if job is None or not job.finished:
            return
        self._probe = None
        problem = job.error.message if job.error is not None else ""
        if job.result:
            self.device.show(job.result)
            problem = str(job.result.get("torch", {}).get("problem") or "")
        self.device.say(problem)
        self._ui.deviceLabel.visible = bool(problem)
        job.release()
