"""What to train, how long and with whose help, and how much time and memory that will take."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from hlfd.runs import RunSettings
from hlfd.words import duration
from HLFDSegmentLib.model_catalogue import find_choice, model_choices
from HLFDTrainLib.choices import AFTER_CLOSE, DURATIONS, METHODS, TEACHERS
from HLFDTrainUI.choices import Choice


class TrainingSection:
    """Makes ``RunSettings`` of what is chosen; ``device`` is the section that lists the devices."""

    def __init__(self, ui: Any, device: Any) -> None:
        self._ui = ui
        self._device = device
        self._notices: dict[str, str] = {}
        ui.estimateLabel.visible = False
        self.model = Choice(ui.startModel, [])
        self._duration = _choice(ui.durationSelector, DURATIONS)
        self._after_close = _choice(ui.afterCloseSelector, AFTER_CLOSE)
        self._method = _choice(ui.methodSelector, METHODS)
        self._teacher = _choice(ui.teacherSelector, TEACHERS)
        ui.teacherSelector.connect("currentIndexChanged(int)", self._on_teacher)
        ui.startModel.connect("currentIndexChanged(int)", self._show_notice)
        self._on_teacher(0)
        self.refresh()

    def refresh(self, model: str = "") -> None:
        """List the models that are installed now, and choose ``model`` (that of a project) where one is given."""
        choices = [choice for choice in model_choices() if not choice.problem]
        self._notices = {choice.key: choice.notice for choice in choices}
        self.model.fill([(choice.key, choice.caption) for choice in choices])
        found = find_choice(choices, model) if model else None
        if found is not None:
            self.model.select(found.key)
        self._show_notice()

    @property
    def after_close(self) -> str:
        """What becomes of a training when Slicer is closed."""
        return str(self._after_close.value)

    def settings(self) -> RunSettings:
        """Return what is chosen."""
        ui, teacher = self._ui, self._teacher.value
        return RunSettings(
            model=self.model.value or "",
            teacher=ui.teacherPath.currentPath.strip() if teacher == "file" else teacher,
            method=self._method.value,
            minutes=self._duration.value,
            steps=int(ui.stepsSpin.value),
            device=self._device.device,
            replay_share=round(float(ui.replaySpin.value), 3),
            patch=int(ui.patchSpin.value),
            batch_size=int(ui.batchSpin.value),
            seed=int(ui.seedSpin.value),
            after_close=self.after_close,
        )

    def show_estimate(self, answer: dict[str, Any]) -> None:
        """Show what a few measured steps tell, and choose the smaller patch where the memory asks for one."""
        settings = self.settings()
        parts = [
            _("About {time}").format(time=duration(60 * answer["minutes"])) if answer.get("minutes") else "",
            _("{steps} steps of {each}").format(steps=answer["steps"], each=duration(answer["seconds_per_step"])),
            _("{size:.1f} GB of memory").format(size=answer["memory_mb"] / 1024) if answer.get("memory_mb") else "",
            _("on {device}").format(device=answer["device"]),
        ]
        lines = [", ".join(filter(None, parts)) + ".", *answer.get("messages", ())]
        self._ui.estimateLabel.text = "\n".join(lines)
        self._ui.estimateLabel.visible = True
        if int(answer["patch"]) < settings.patch:
            self._ui.patchSpin.value = int(answer["patch"])
        if int(answer["batch_size"]) < settings.batch_size:
            self._ui.batchSpin.value = int(answer["batch_size"])

    def _show_notice(self, index: int = 0) -> None:
        """Say what the package says of itself, such as that it is a demonstration."""
        notice = self._notices.get(self.model.value, "")
        self._ui.modelNoticeLabel.text = notice
        self._ui.modelNoticeLabel.visible = bool(notice)

    def _on_teacher(self, index: int) -> None:
        self._ui.teacherPath.enabled = self._teacher.value == "file"


def _choice(selector: Any, entries: Any) -> Choice:
    return Choice(selector, [(value, _(name)) for value, name in entries])
