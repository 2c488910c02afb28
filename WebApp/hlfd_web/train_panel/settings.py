"""What to train, how long and with whose help, and how much time and memory that will take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.runs import RunSettings
from hlfd_web.teachers import teacher_items, teacher_source
from hlfd_web.train_panel.section import FIELD, Section, items
from hlfd_web.train_panel.words import estimate_text
from HLFDSegmentLib.model_catalogue import find_choice, model_choices
from HLFDTrainLib.choices import AFTER_CLOSE, DURATIONS, METHODS, TEACHERS

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_DEFAULTS = RunSettings()
_REPLAY = "Share of simulated patches: half against forgetting, half in the look of your scanner."


class SettingsSection(Section):
    """Makes ``RunSettings`` of what is chosen."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self._notices: dict[str, str] = {}
        self.set(
            start_model="",
            start_models=[],
            start_notice="",
            minutes=_DEFAULTS.minutes,
            durations=items(DURATIONS),
            method=_DEFAULTS.method,
            methods=items(METHODS),
            teacher="",
            teachers=[],
            suggest_teachers=[],
            after_close=_DEFAULTS.after_close,
            after_closes=items(AFTER_CLOSE),
            steps=_DEFAULTS.steps,
            patch=_DEFAULTS.patch,
            batch=_DEFAULTS.batch_size,
            replay=_DEFAULTS.replay_share,
            seed=_DEFAULTS.seed,
            estimate="",
        )
        self.state.change("train_start_model")(self._on_model)

    def refresh(self, model: str = "") -> None:
        """List the models and teachers that there are now, and choose ``model``, where one is given."""
        choices = [choice for choice in model_choices() if not choice.problem]
        self._notices = {choice.key: choice.notice for choice in choices}
        wanted = find_choice(choices, model or str(self.get("start_model") or ""))
        own = [item for item in items(TEACHERS) if item["value"] != "file"]
        root = self.context.data_root
        self.set(
            start_models=[{"title": choice.caption, "value": choice.key} for choice in choices],
            start_model=wanted.key if wanted is not None else "",
            teachers=teacher_items(root, own),
            suggest_teachers=teacher_items(root, [{"title": "Nobody: its own doubts alone", "value": ""}]),
        )
        self._on_model()

    def settings(self) -> RunSettings:
        """Return what is chosen; raises ``ConfigError`` for values that make no sense."""
        return RunSettings(
            model=str(self.get("start_model") or ""),
            teacher=teacher_source(self.context.data_root, str(self.get("teacher") or "")),
            method=str(self.get("method")),
            minutes=float(self.get("minutes")),
            steps=_whole(self.get("steps"), _DEFAULTS.steps),
            device=self.context.device,
            replay_share=round(float(self.get("replay")), 3),
            patch=_whole(self.get("patch"), _DEFAULTS.patch),
            batch_size=_whole(self.get("batch"), _DEFAULTS.batch_size),
            seed=_whole(self.get("seed"), _DEFAULTS.seed),
            after_close=str(self.get("after_close")),
        )

    def show_estimate(self, answer: dict[str, Any]) -> None:
        """Show what a few measured steps tell, and choose the smaller patch where the memory asks for one."""
        settings = self.settings()
        self.set(estimate=estimate_text(answer))
        if int(answer["patch"]) < settings.patch:
            self.set(patch=int(answer["patch"]))
        if int(answer["batch_size"]) < settings.batch_size:
            self.set(batch=int(answer["batch_size"]))

    def build(self) -> None:
        """Write the widgets."""
        v3.VSelect(v_model=("train_start_model",), items=("train_start_models",), label="Student to train on",
                   data_testid="train-start-model", **FIELD)  # fmt: skip
        html.Div(
            "{{ train_start_notice }}", v_if="train_start_notice", classes="hlfd-demo mb-3", data_testid="train-notice"
        )
        v3.VSelect(v_model=("train_minutes",), items=("train_durations",), label="How long",
                   data_testid="train-minutes", **FIELD)  # fmt: skip
        with v3.VExpansionPanels(classes="mb-3"), v3.VExpansionPanel(data_testid="train-advanced"):
            v3.VExpansionPanelTitle("Advanced")
            with v3.VExpansionPanelText():
                self._advanced()

    def _advanced(self) -> None:
        for name, title, offered in (
            ("method", "Learns from", "methods"),
            ("teacher", "Teacher", "teachers"),
            ("after_close", "When the session ends", "after_closes"),
        ):
            v3.VSelect(v_model=(f"train_{name}",), items=(f"train_{offered}",), label=title,
                       data_testid=f"train-{name.replace('_', '-')}", **FIELD)  # fmt: skip
        for name, title, low in (
            ("steps", "Steps in place of a time (0: none)", 0),
            ("patch", "Patch in voxels", 16),
            ("batch", "Patches per step", 1),
            ("seed", "Seed", 0),
        ):
            v3.VTextField(v_model_number=(f"train_{name}",), type="number", label=title,
                          raw_attrs=[f'min="{low}"', 'step="1"'], data_testid=f"train-{name}", **FIELD)  # fmt: skip
        v3.VSlider(v_model=("train_replay",), min=0, max=0.9, step=0.05, label="Replay", thumb_label=True,
                   density="compact", hide_details=True, data_testid="train-replay")  # fmt: skip
        html.Div(_REPLAY, classes="text-caption")

    def _on_model(self, **_state: Any) -> None:
        self.set(start_notice=self._notices.get(str(self.get("start_model")), ""))


def _whole(value: Any, default: int) -> int:
    """Return a typed number as a whole one, the default where the field is empty."""
    return default if value in (None, "") else int(value)
