"""How far a task on the cases is, and Cancel."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from hlfd.words import duration

_TASKS = {
    "open": "Opening the project",
    "create": "Making the project",
    "add": "Adding the case",
    "update": "Saving the case",
    "import": "Importing",
    "check": "Checking",
    "remove": "Removing the case",
    "set_role": "Changing the role",
    "load_case": "Loading the case",
    "suggest": "Looking at the CTs",
}


class TaskSection:
    """Follows the task of ``logic``."""

    def __init__(self, ui: Any, logic: Any) -> None:
        self._ui = ui
        self._logic = logic
        logic.progress.connect(self._on_progress)
        ui.caseCancelButton.connect("clicked(bool)", self._on_cancel)
        ui.caseStage.visible = False

    def show(self) -> None:
        """Show whether a task is under way."""
        task, ui = self._logic.task, self._ui
        if task and not ui.caseBar.visible:
            ui.caseBar.setRange(0, 0)  # moves until the first percent is known
            ui.caseStage.text = _(_TASKS.get(task, task)) + "..."
            ui.caseStage.visible = True
        ui.caseBar.visible = ui.caseCancelButton.visible = bool(task)
        ui.caseCancelButton.enabled = True

    def show_end(self, text: str) -> None:
        """Show how a task ended."""
        self._ui.caseStage.text = text
        self._ui.caseStage.visible = bool(text)

    def _on_progress(self, done: float, total: float, seconds_left: float | None) -> None:
        ui = self._ui
        if total:
            ui.caseBar.setRange(0, 100)
            ui.caseBar.setValue(int(100 * done / total))
        if ui.caseCancelButton.enabled:
            text = _(_TASKS.get(self._logic.task, self._logic.task))
            left = "" if not seconds_left else _("about {time} left").format(time=duration(max(1.0, seconds_left)))
            ui.caseStage.text = ", ".join(filter(None, (text, left))) + "..."

    def _on_cancel(self, checked: bool = False) -> None:
        self._ui.caseCancelButton.enabled = False
        self._ui.caseStage.text = _("Cancelling...")
        self._logic.cancel()
