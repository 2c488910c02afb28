"""Starting a training and following it: estimate, progress, pause, resume, cancel, curves and the log of its events."""

from __future__ import annotations

import time
from typing import Any

import slicer
from slicer.i18n import tr as _

from hlfd.errors import HlfdError, UsageError
from hlfd.runs import State, command
from hlfd.words import duration
from HLFDSegmentUI.dialogs import confirmed, errors_shown, show_error
from HLFDTrainLib.choices import TURNS, StageWords

_STATES = {
    State.STARTING: "Starting",
    State.PAUSING: "Pausing: writing a checkpoint",
    State.PAUSED: "Paused. Resume goes on from here, also after Slicer was closed.",
    State.FINISHED: "Done.",
    State.FAILED: "Failed.",
    State.CANCELLED: "Cancelled.",
    State.INTERRUPTED: "Interrupted: its process is gone. Resume goes on from the last checkpoint.",
}


class RunSection:
    """Drives ``logic`` (``TrainLogic``); ``panel`` has the project, the settings, the timers and the log."""

    def __init__(self, ui: Any, logic: Any, panel: Any) -> None:
        self._ui = ui
        self._logic = logic
        self._panel = panel
        self._stage = self._left = ""
        self._words = StageWords()
        self._warned: set[str] = set()
        self._seen_at_work = False
        self.estimating = False
        ui.runLog.visible = False
        logic.state_changed.connect(self._on_state)
        logic.stage.connect(self._on_stage)
        logic.progress.connect(self._on_progress)
        logic.metric.connect(self._on_metric)
        logic.warned.connect(self._on_warning)
        logic.failed.connect(self._on_failed)
        logic.estimated.connect(self._on_estimate)
        ui.estimateButton.connect("clicked(bool)", self._on_estimate_button)
        ui.trainButton.connect("clicked(bool)", self._on_start)
        ui.pauseButton.connect("clicked(bool)", self._on_pause)
        ui.cancelRunButton.connect("clicked(bool)", self._on_cancel)
        ui.copyRunButton.connect("clicked(bool)", self._on_copy)
        ui.liveBox.connect("toggled(bool)", self._on_live)

    def show(self) -> None:
        """Show what can be done now."""
        ui, state = self._ui, self._logic.state
        active = state is not None and state.active
        resumable = state is not None and state.resumable
        ready = bool(self._panel.cases.project is not None and self._panel.cases.cases) and not active
        ui.trainButton.enabled = ui.estimateButton.enabled = ready and not self.estimating
        ui.runBar.visible = active
        ui.pauseButton.visible = ui.cancelRunButton.visible = active or resumable
        ui.pauseButton.text = _("Resume") if resumable else _("Pause")
        ui.pauseButton.enabled = resumable or state is State.RUNNING
        ui.cancelRunButton.enabled = active or resumable
        ui.liveBox.enabled = self._logic.run is not None or ui.liveBox.checked
        ui.runStage.visible, ui.liveLabel.visible = bool(ui.runStage.text), bool(ui.liveLabel.text)

    def clear(self) -> None:
        """Forget what was shown of another run."""
        self._stage = self._left = ""
        self._words = StageWords()
        self._warned.clear()
        self._seen_at_work = False
        self._ui.runLog.clear()
        self._ui.runLog.visible = False
        self._ui.liveLabel.text = ""
        self._ui.runBar.setRange(0, 0)  # moves until the first percent is known

    def _folder(self) -> Any:
        project = self._panel.cases.project
        if project is None:
            raise UsageError(_("No project is open."), _("Open or create one first."))
        return project.folder

    def _on_estimate_button(self, checked: bool = False) -> None:
        with errors_shown(_("The estimate could not be made.")):
            if not self._panel.setup.ensure():
                return
            self._logic.estimate(self._folder(), self._panel.settings.settings())
            self.estimating = True
            self._ui.estimateLabel.text = _("Measuring a few steps...")
            self._ui.estimateLabel.visible = True
            self._panel.begin(_("Estimate"))

    def _on_estimate(self, answer: dict[str, Any]) -> None:
        self.estimating = False
        self._panel.settings.show_estimate(answer)
        self._panel.say(self._ui.estimateLabel.text)
        self._panel.show()

    def _on_start(self, checked: bool = False) -> None:
        with errors_shown(_("The training could not be started.")):
            if self._panel.setup.ensure():
                self.start(self._panel.settings.settings())

    def start(self, settings: Any) -> None:
        """Start a training with these settings and follow it; raises what ``hlfd.runs.start_run`` raises."""
        folder = self._folder()
        self.clear()
        run = self._logic.start(folder, settings)
        self._panel.say(_("Training {run} started").format(run=run.id))
        self._panel.follow()

    def _on_pause(self, checked: bool = False) -> None:
        with errors_shown(_("The training could not be changed.")):
            if self._logic.state is not None and self._logic.state.resumable:
                self._ui.runBar.setRange(0, 0)
                self._logic.resume()
                self._panel.follow()
            else:
                self._ui.pauseButton.enabled = False
                self._logic.pause()

    def _on_cancel(self, checked: bool = False) -> None:
        if not confirmed(_("End this training for good? What it has learned so far is deleted.")):
            return
        with errors_shown(_("The training could not be cancelled.")):
            self._ui.cancelRunButton.enabled = False
            self._ui.runStage.text = _("Cancelling...")
            self._logic.cancel()
            self._panel.follow()

    def _on_copy(self, checked: bool = False) -> None:
        with errors_shown(_("The command could not be written.")):
            text = command(self._panel.settings.settings(), data=self._folder())
            slicer.app.clipboard().setText(text)
            self._panel.say(text)

    def _on_state(self, state: State) -> None:
        self._seen_at_work = self._seen_at_work or state.active
        if state in _STATES:
            self._stage, self._left = _(_STATES[state]), ""
        self._say()
        self._panel.say(f"{self._logic.run.id}: {state.value}")

    def _on_stage(self, name: str) -> None:
        self._stage, self._left = _(self._words.of(name)), ""
        if self.estimating:
            self._ui.estimateLabel.text = self._stage + "..."
            return
        if name not in TURNS:
            self._ui.runBar.setRange(0, 0)
            self._note(self._stage)
        self._say()

    def _on_progress(self, done: float, total: float, seconds_left: float | None) -> None:
        self._ui.runBar.setRange(0, 100 if done < total else 0)  # what follows takes its time too
        self._ui.runBar.setValue(int(100 * done / total) if total else 0)
        self._left = "" if not seconds_left else _("about {time} left").format(time=duration(max(1.0, seconds_left)))
        self._say()

    def _on_metric(self, step: int, values: dict[str, float]) -> None:
        dice = {name: value for name, value in values.items() if name.partition("/")[0] == "dice"}
        numbers = ", ".join(f"{name.partition('/')[2] or 'mean'} {value:.3f}" for name, value in dice.items())
        if dice:
            self._ui.liveLabel.text = _("Step {step}: Dice on validation cases: {numbers}").format(
                step=step, numbers=numbers
            )
            self._ui.liveLabel.visible = True
            self._note(self._ui.liveLabel.text)

    def _on_warning(self, message: str) -> None:
        if message not in self._warned:  # often the same of every case
            self._warned.add(message)
            self._note(message)
            self._panel.say(message)

    def _on_failed(self, error: HlfdError) -> None:
        news = self.estimating or self._seen_at_work
        if self.estimating:
            self.estimating = False
            self._ui.estimateLabel.text = error.message
        else:
            self._stage = error.message
            self._say()
        self._panel.say(str(error))
        self._panel.show()
        if news:  # not of a training that is found as it was left
            show_error(error)

    def _on_live(self, shown: bool) -> None:
        with errors_shown(_("The views could not be changed.")):
            (self._logic.live.enter if shown else self._logic.live.leave)()

    def _say(self) -> None:
        state = self._logic.state
        text = ", ".join(filter(None, (self._stage, self._left)))
        self._ui.runStage.text = f"{text}..." if state is not None and state.active else text
        self._ui.runStage.visible = bool(text)

    def _note(self, text: str) -> None:
        self._ui.runLog.visible = True
        self._ui.runLog.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")
