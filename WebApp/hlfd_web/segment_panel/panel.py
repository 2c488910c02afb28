"""The tab Segment: one button, its progress, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError, InputError, ModelError
from hlfd.events import Event, Warn
from hlfd.jobs import Job
from hlfd_web.panel import Panel
from hlfd_web.segment_panel import ui
from hlfd_web.segment_panel.results import Results
from hlfd_web.segment_panel.words import Progressing, waiting_text
from hlfd_web.turns import Turn
from HLFDSegmentLib.devices import AUTOMATIC, CPU, device_choices, device_sentence
from HLFDSegmentLib.edits import edited_segments
from HLFDSegmentLib.model_catalogue import find_choice, model_choices
from HLFDSegmentLib.segment_logic import Outputs, Segmented, State

if TYPE_CHECKING:
    from hlfd_web.app import Context


class SegmentPanel(Panel):
    """Runs one segmentation at a time in the worker, in turn with other sessions of the server."""

    name, title, icon = "segment", "Segment", "mdi-auto-fix"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.logic = context.segment
        self._turn: Turn | None = None
        self._progress = Progressing()
        self._probes: list[Job] = []
        self._chosen_device = "cpu"
        self._devices = {"auto", "cpu", context.device}
        self.state.update(
            {
                **{"seg_models": [], "seg_model": "", "seg_notice": "", "seg_task": "", "seg_problem": ""},
                **{"seg_devices": _items([AUTOMATIC, CPU]), "seg_device": context.device, "seg_device_text": ""},
                **{
                    "seg_running": False,
                    "seg_percent": 0,
                    "seg_known": False,
                    "seg_stage": "",
                    "seg_cancelling": False,
                },
                **{"seg_confirm": [], "seg_has_volume": False, "seg_done": "", "seg_doubtful": False},
            }
        )
        self.results = Results(context)
        self.logic.event.connect(self._on_event)
        self.logic.finished.connect(self._on_finished)
        self.logic.failed.connect(self._on_failed)
        self.logic.cancelled.connect(self._on_cancelled)
        context.on_change.connect(self._on_shown)
        context.every(self._look_at_probes)
        self.state.change("seg_model")(self._on_model)
        self.state.change("seg_device")(lambda **_: self.warm())
        self.refresh_models()

    def build(self) -> None:
        """Write the panel."""
        ui.build(self)

    def enter(self) -> None:
        """List the models that are installed now."""
        self.refresh_models()
        self.results.show()

    def close(self) -> None:
        """Leave the line of the device."""
        self._end_turn()
        self.results.close()

    def refresh_models(self, wanted: str = "") -> None:
        """List the models; ``wanted`` chooses one, such as one that was trained or imported a moment ago."""
        choices = model_choices()
        found = find_choice(choices, wanted or self.state.seg_model or "kidney")
        self.state.seg_models = [{"value": choice.key, "title": choice.caption} for choice in choices]
        self.state.seg_model = found.key if found is not None else ""
        self._on_model()

    use_model = refresh_models

    def warm(self) -> None:
        """Start the worker and load the model, so that the first click is quick; nothing without a CT."""
        settings = self._settings()
        if settings is not None and self.context.volume_node is not None:
            job = self.context.jobs.submit("probe", {"settings": asdict(settings), "load": True})
            self._probes.append(job)

    def run(self) -> None:
        """Segment, or ask first where edited segments would be replaced."""
        edited = edited_segments(self.context.segmentation_node) if self.context.segmentation_node else []
        if edited:
            self.state.seg_confirm = edited
        else:
            self.begin()

    def begin(self) -> None:
        """Take a place in the line of the device and segment when it is this session's turn."""
        self.state.seg_confirm = []
        if self._turn is not None:
            return
        with self.context.notices.shown():
            settings = self._settings()
            if settings is None:
                raise ModelError(self.state.seg_problem or "No model is installed.", "Import one in Models.")
            if self.context.volume_node is None:
                raise InputError("No CT is open.", "Open one in the tab Open.")
            self._progress = Progressing()
            self.state.update({"seg_running": True, "seg_known": False, "seg_percent": 0, "seg_stage": "Starting"})
            self.state.update({"seg_cancelling": False, "seg_done": ""})
            self.logic.engine.settings = settings
            device = self._chosen_device if settings.device == "auto" else settings.device
            self._turn = Turn(self.context, device, self._start, self._on_waiting)

    def cancel(self) -> None:
        """Stop the run, or leave the line."""
        if self.logic.state is State.IDLE:
            self._show_idle("Cancelled.")
        else:
            self.state.seg_cancelling = True
            self.logic.cancel()

    def show_stored(self, segmented: Segmented) -> None:
        """Show a result that was read from the disk."""
        self.results.take(segmented)
        self.context.open_panel(self.name)

    def _start(self) -> None:
        target = self.context.segmentation_node
        try:
            self.logic.start(self.context.volume_node, Outputs(target if self.results.is_own(target) else None))
        except HlfdError as error:
            self._show_idle("")
            self.context.notices.show(error)

    def _settings(self) -> SegmentSettings | None:
        """Return what was chosen; None unless it is an installed model: a page must not name folders."""
        model, device = self.state.seg_model, self.state.seg_device
        if not any(choice.key == model and not choice.problem for choice in model_choices()):
            return None
        settings = SegmentSettings(model=model, device=device if device in self._devices else self.context.device)
        return replace(settings, min_confidence=0.0) if self.state.seg_doubtful is True else settings

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._turn.end()
            self._turn = None

    def _show_idle(self, text: str) -> None:
        self._end_turn()
        self.state.update({"seg_running": False, "seg_cancelling": False, "seg_stage": "", "seg_done": text})
        self.context.notices.speak(text)

    def _on_waiting(self, ahead: int) -> None:
        self.state.seg_stage = waiting_text(ahead)
        self.context.notices.speak(self.state.seg_stage)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Warn):
            self.context.notices.show(event.message, "warning")
        self._progress.take(event)
        percent = self._progress.percent
        self.state.update({"seg_stage": self._progress.text, "seg_known": percent is not None})
        self.state.seg_percent = percent or 0

    def _on_finished(self, segmented: Segmented) -> None:
        seconds = segmented.result.timing.get("total", 0.0)
        self._show_idle(f"Done in {seconds:.1f} s on {segmented.result.device}.")
        self.results.take(segmented, new=True)

    def _on_failed(self, error: HlfdError) -> None:
        self._show_idle("")
        self.context.notices.show(error)

    def _on_cancelled(self, reason: str) -> None:
        self._show_idle(reason)

    def _on_model(self, **_state: Any) -> None:
        choice = next((one for one in model_choices() if one.key == self.state.seg_model), None)
        self.state.update(
            {
                "seg_notice": choice.notice if choice is not None else "No model is installed. Import one in Models.",
                "seg_task": choice.task if choice is not None and not choice.problem else "",
                "seg_problem": choice.problem if choice is not None else "No model is installed.",
            }
        )
        self.warm()

    def _on_shown(self) -> None:
        had, self.state.seg_has_volume = self.state.seg_has_volume, self.context.volume_node is not None
        if self.state.seg_has_volume and not had:
            self.warm()
        self.results.show()

    def _look_at_probes(self) -> None:
        for job in [job for job in self._probes if job.finished]:
            latest = job is self._probes[-1]
            self._probes.remove(job)
            if latest and job.error is not None:
                self.state.seg_device_text = job.error.message
            elif latest and job.result:
                choices = device_choices(job.result)
                self._devices = {device for device, _caption in choices}
                self.state.seg_devices = _items(choices)
                self.state.seg_device_text = device_sentence(job.result)
                self._chosen_device = str(job.result.get("chosen", {}).get("device") or "cpu")
            job.release()


def _items(choices: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"value": device, "title": caption} for device, caption in choices]
