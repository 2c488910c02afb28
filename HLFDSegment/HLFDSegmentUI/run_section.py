"""The button, the progress and Cancel."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from hlfd.events import Event, Progress, Stage, Warn
from hlfd.words import duration
from HLFDSegmentLib.stages import STAGES


class RunSection:
    """Shows how far a run is; it knows nothing of how one is started."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._stage = ""
        self._left = ""
        self.show_idle("")

    def show_running(self) -> None:
        """Show that a run began, without knowing yet how far it is."""
        self._stage, self._left = _("Starting"), ""
        self._ui.progressBar.setRange(0, 0)  # moves until the first percent is known
        self._set_running(True)
        self._ui.stageLabel.visible = True
        self._say()

    def show_idle(self, text: str) -> None:
        """Show how the last run ended."""
        self._ui.progressBar.setRange(0, 100)
        self._ui.progressBar.setValue(0)
        self._set_running(False)
        self._ui.stageLabel.text = text
        self._ui.stageLabel.visible = bool(text)

    def show_cancelling(self) -> None:
        """Show that Cancel was heard."""
        self._ui.cancelButton.enabled = False
        self._ui.stageLabel.text = _("Cancelling...")

    def show_event(self, event: Event) -> str:
        """Show an event of the engine, and return what of it belongs in the log."""
        if isinstance(event, Stage):
            self._stage = _(STAGES.get(event.name, event.name.capitalize()))
            self._say()
            return self._stage
        if isinstance(event, Progress) and event.total:
            self._ui.progressBar.setRange(0, 100)
            self._ui.progressBar.setValue(int(100 * event.done / event.total))
            left = event.seconds_left
            self._left = "" if not left else _("about {time} left").format(time=duration(max(1.0, left)))
            self._say()
        return event.message if isinstance(event, Warn) else ""

    def _say(self) -> None:
        if self._ui.cancelButton.enabled:
            self._ui.stageLabel.text = ", ".join(filter(None, (self._stage, self._left))) + "..."

    def _set_running(self, running: bool) -> None:
        self._ui.progressBar.visible = self._ui.cancelButton.visible = running
        self._ui.cancelButton.enabled = running
        self._ui.runButton.enabled = not running
