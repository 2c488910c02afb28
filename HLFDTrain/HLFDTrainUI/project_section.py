"""The project folder: make one, open one, and the one of last time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import slicer
from slicer.i18n import tr as _

from HLFDSegmentLib.model_catalogue import model_choices
from HLFDSegmentUI.dialogs import errors_shown
from HLFDTrainUI.choices import Choice

_SETTING = "HLFDTrain/Project"  # of the person, not of the scene: a project outlives many scenes
_PROJECT_FILE = "project.json"


class ProjectSection:
    """Opens projects through ``logic``; ``busy`` has timer and log."""

    def __init__(self, ui: Any, logic: Any, busy: Any) -> None:
        self._ui = ui
        self._logic = logic
        self._busy = busy
        ui.projectPath.filters = ctk.ctkPathLineEdit.Dirs
        self._models = Choice(ui.projectModel, [])
        ui.projectPath.connect("currentPathChanged(QString)", self._on_path)
        ui.projectButton.connect("clicked(bool)", self._on_button)

    @property
    def folder(self) -> Path:
        """The folder that is typed."""
        return Path(self._ui.projectPath.currentPath.strip()).expanduser()

    def enter(self) -> None:
        """Open the project of last time, when none is open."""
        self.refresh()
        last = slicer.app.userSettings().value(_SETTING) or ""
        if (
            self._logic.project is None
            and not self._ui.projectPath.currentPath
            and (Path(last) / _PROJECT_FILE).is_file()
        ):
            self._ui.projectPath.currentPath = last
            self._open()

    def refresh(self) -> None:
        """List the models that are installed now, and show what the button does."""
        self._models.fill([(choice.key, choice.caption) for choice in model_choices() if not choice.problem])
        self._on_path("")

    def remember(self) -> None:
        """Open this project the next time too."""
        slicer.app.userSettings().setValue(_SETTING, str(self._logic.project.folder))
        self._on_path("")

    def show(self) -> None:
        """Say what the open project holds."""
        self._on_path("")
        project = self._logic.project
        if project is None:
            self._ui.projectLabel.text = _("No project is open. Choose an empty folder to begin one.")
            return
        labels = ", ".join(label.name for label in project.labels)
        text = _("{name}: {count} cases. Labels: {labels}.").format(
            name=project.name or project.folder.name, count=len(project.cases), labels=labels
        )
        notes = [f"{case}: {problem}" for case, problem in project.problems.items()]
        self._ui.projectLabel.text = "\n".join([text, *notes])

    def _on_path(self, path: str) -> None:
        typed = self._ui.projectPath.currentPath.strip()
        exists = bool(typed) and (self.folder / _PROJECT_FILE).is_file()
        self._ui.projectButton.text = _("Open project") if exists else _("Create project")
        self._ui.projectButton.enabled = bool(typed) and not self._logic.task
        self._ui.projectModel.enabled = not exists

    def _on_button(self, checked: bool = False) -> None:
        if (self.folder / _PROJECT_FILE).is_file():
            self._open()
            return
        with errors_shown(_("The project could not be made.")):
            self._logic.create(self.folder, self._models.value or "", self.folder.name)
            self._busy.begin(_("Making the project {folder}...").format(folder=self.folder))

    def _open(self) -> None:
        with errors_shown(_("The project could not be opened.")):
            self._logic.open(self.folder)
            self._busy.begin(_("Opening the project {folder}...").format(folder=self.folder))
