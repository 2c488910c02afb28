"""The panel of the training: its sections, the logics behind them, and what carries news between both."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hlfd.errors import HlfdError
from hlfd_web.panel import Panel
from hlfd_web.train_panel.adding import AddSection
from hlfd_web.train_panel.cases import CasesSection
from hlfd_web.train_panel.importing import ImportSection
from hlfd_web.train_panel.outcome import OutcomeSection
from hlfd_web.train_panel.project import ProjectSection
from hlfd_web.train_panel.running import RunSection
from hlfd_web.train_panel.settings import SettingsSection
from hlfd_web.train_panel.suggesting import SuggestSection
from hlfd_web.train_panel.ui import build_drawer
from hlfd_web.train_panel.words import TASKS, joined, left_text
from HLFDTrainLib.case_logic import CaseLogic
from HLFDTrainLib.ct_loader import CtLoader
from HLFDTrainLib.train_logic import TrainLogic

_RUN_S = 0.25
_OPEN_SECTIONS = ["project", "cases", "add", "train", "result"]


class TrainPanel(Panel):
    """Composes the sections; one task on the cases at a time, beside one training in a process of its own."""

    name = "train"
    title = "Train"
    icon = "mdi-school-outline"

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.cases = CaseLogic(self.scene, context.jobs)
        self.training = TrainLogic(self.scene, context.jobs)
        self.loader = CtLoader(self.scene)
        self._asked: Callable[[], None] | None = None
        self._open = False
        self._looked = 0.0
        self.set(task="", task_text="", task_percent=0, ask_text="", sections=list(_OPEN_SECTIONS))
        self.settings = SettingsSection(self)
        self.project = ProjectSection(self)
        self.list = CasesSection(self)
        self.adding = AddSection(self)
        self.imports = ImportSection(self)
        self.suggest = SuggestSection(self)
        self.run = RunSection(self)
        self.outcome = OutcomeSection(self)
        self.cases.changed.connect(self.show)
        self.cases.progress.connect(self._on_progress)
        self.cases.warned.connect(lambda message: context.notices.show(message, "warning"))
        self.cases.finished.connect(self._on_task)
        self.cases.failed.connect(self._on_task_failed)
        self.training.state_changed.connect(self._on_state)
        self.loader.loaded.connect(context.show_volume)
        self.loader.failed.connect(context.notices.show)
        context.every(self.poll)

    def set(self, **values: Any) -> None:
        """Set state of the panel by the names without their prefix."""
        self.state.update({f"train_{name}": value for name, value in values.items()})

    def build(self) -> None:
        """Write the drawer, and the charts of the layout that shows a training."""
        build_drawer(self)
        self.run.build_views()

    def enter(self) -> None:
        """Show what is there now: models, the project of last time, and a training that went on meanwhile."""
        self._open = True
        with self.context.notices.shown():
            self.settings.refresh()
            self.imports.refresh()
            self.project.enter()
            self.show()

    def leave(self) -> None:
        """Give the views back; the work goes on."""
        self._open = False
        self.set(live=False)
        self.training.live.leave()
        self.outcome.leave_overlay()

    def close(self) -> None:
        """Let go of everything; a training goes on, or pauses where its settings say so."""
        self.context.no_more(self.poll)
        self.adding.close()
        self.outcome.close()
        self.training.close()
        self.loader.close()
        self.cases.close()

    def poll(self) -> None:
        """Take in what tasks and training reported."""
        self.cases.poll()
        self.loader.poll()
        self.outcome.poll()
        if self._open:
            self.adding.poll()
        if time.monotonic() - self._looked > _RUN_S:
            self._looked = time.monotonic()
            self.training.poll()
        self.run.poll()

    def begin(self, start: Callable[[], None]) -> None:
        """Start a task on the cases; what is wrong at once is shown."""
        with self.context.notices.shown():
            start()
            task = self.cases.task
            self.set(task=task, task_text=TASKS.get(task, task) + "..." if task else "", task_percent=0)

    def cancel_task(self) -> None:
        """Stop the task."""
        self.set(task_text="Cancelling...")
        self.cases.cancel()

    def ask(self, question: str, agreed: Callable[[], None]) -> None:
        """Ask before doing what cannot be taken back."""
        self._asked = agreed
        self.set(ask_text=question)

    def answer(self, yes: bool) -> None:
        """Do what was asked about, or not."""
        agreed, self._asked = self._asked, None
        self.set(ask_text="")
        if yes and agreed is not None:
            with self.context.notices.shown():
                agreed()

    def offer(self, volume_node: Any, segmentation_node: Any) -> None:
        """Show a corrected result as the next case; called by the panel Edit."""
        if volume_node is not self.context.volume_node:
            self.context.show_volume(volume_node)
        if segmentation_node is not self.context.segmentation_node:
            self.context.show_segmentation(segmentation_node)
        self.set(sections=sorted({*self.state.train_sections, "project", "add"}))
        self.adding.show()

    def load_ct(self, path: Path) -> None:
        """Read a CT and show it."""
        self.loader.load(path)

    def model_added(self, key: str) -> None:
        """Let Segment use a model that was added, and offer it here too."""
        self.settings.refresh()
        segment = self.context.panels.get("segment")
        if segment is not None:
            segment.use_model(key)

    def show(self) -> None:
        """Show what the open project holds, and what can be done next."""
        self.project.show()
        self.list.show()
        self.adding.show()
        self.imports.show()
        self.run.show()

    def _on_progress(self, done: float, total: float, seconds_left: float | None) -> None:
        text = joined(TASKS.get(self.cases.task, self.cases.task), left_text(seconds_left))
        self.set(task_percent=int(100 * done / total) if total else 0, task_text=f"{text}...")

    def _on_task(self, task: str, result: Any) -> None:
        self.set(task="", task_text="", task_percent=0)
        if task in ("open", "create"):
            self._on_project(result)
        elif task == "add":
            self.adding.clear()
            self.context.notices.show(f"Added: {result.caption}.", "success")
        elif task == "update":
            self.context.notices.show(f"Saved: {result.caption}.", "success")
        elif task == "remove":
            self.context.notices.show(f'Removed; its files are in "{Path(result).parent.name}" of the project.')
        elif task == "check":
            self.imports.show_report(result)
        elif task == "import":
            self.imports.show_imported(result)
        elif task == "suggest":
            self.suggest.show_rows(result)
        elif task == "load_case":
            self._correct(*result)
        self.list.next()
        self.show()

    def _on_task_failed(self, error: HlfdError) -> None:
        self.list.forget()
        self.set(task="", task_text="Cancelled." if error.code == "cancelled" else "", task_percent=0)
        self.context.notices.show(error)
        self.show()

    def _on_project(self, project: Any) -> None:
        self.project.opened()
        self.settings.refresh(project.model)
        self.run.clear()
        found = self.training.find(project.folder)
        runs = self.training.runs(project.folder)
        if found is not None or runs:
            self.training.attach(found or runs[-1])
        else:
            self.training.detach()
        self.outcome.refresh()
        self.run.show()

    def _correct(self, volume_node: Any, segmentation_node: Any) -> None:
        self.context.show_volume(volume_node)
        self.context.show_segmentation(segmentation_node)
        self.context.open_panel("edit")

    def _on_state(self, _state: Any) -> None:
        self.outcome.refresh()
        self.run.show()
