"""Starting a training and following it: estimate, progress, pause, resume, cancel, curves and the log of its events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.errors import HlfdError, UsageError
from hlfd.runs import State, command
from hlfd_web.train_panel.curves import curve_chart, picture_url
from hlfd_web.train_panel.section import Section
from hlfd_web.train_panel.words import STATES, joined, left_text, validation_text
from hlfd_web.views_slices import TITLE
from HLFDTrainLib.choices import TURNS, StageWords
from HLFDTrainLib.live_view import PLOTS, SAMPLE

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel

_MOST_LINES = 200
_DRAW_S = 0.5
_FIELDS: dict[str, Any] = {
    "state": "",
    "stage": "",
    "percent": 0,
    "active": False,
    "resumable": False,
    "pausing": False,
    "estimating": False,
    "live_text": "",
    "live": False,
    "loss_chart": "",
    "dice_chart": "",
    "sample": "",
    "sample_text": "",
    "log": [],
    "command": "",
    "elsewhere": "",
}


class RunSection(Section):
    """Drives ``TrainLogic``."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self._stage = self._left = ""
        self._words = StageWords()
        self._warned: set[str] = set()
        self._seen_at_work = False
        self._drawn = 0.0
        self._stale = False  # whether curves and example slice are newer than the page shows
        self.set(**_FIELDS)
        logic = self.training
        for signal, slot in (
            (logic.state_changed, self._on_state),
            (logic.stage, self._on_stage),
            (logic.progress, self._on_progress),
            (logic.metric, self._on_metric),
            (logic.sampled, self._on_sample),
            (logic.warned, self._on_warning),
            (logic.failed, self._on_failed),
            (logic.estimated, self._on_estimate),
        ):
            signal.connect(slot)
        self.state.change("train_live")(self._on_live)

    @property
    def estimating(self) -> bool:
        """Whether a few steps are being measured."""
        return bool(self.get("estimating"))

    def show(self) -> None:
        """Show what can be done now."""
        state = self.training.state
        self.set(
            state=state.value if state is not None else "",
            active=state is not None and state.active,
            resumable=state is not None and state.resumable,
            pausing=state is State.PAUSING,
        )
        other = self.training.elsewhere()
        known = other is not None and other.state.active
        self.set(elsewhere=_elsewhere(other.folder) if known else "")

    def poll(self) -> None:
        """Draw the curves again where there are new numbers, but not more often than anybody looks."""
        if self._stale and time.monotonic() - self._drawn > _DRAW_S:
            self._stale, self._drawn = False, time.monotonic()
            curves, samples = self.training.curves, self.training.samples
            self.set(loss_chart=curve_chart(curves, "loss"), dice_chart=curve_chart(curves, "dice"))
            self.set(sample=picture_url(samples.picture), sample_text=f"Step {samples.step}" if samples.step else "")
            self.context.views.redraw()

    def clear(self) -> None:
        """Forget what was shown of another run."""
        self._stage = self._left = ""
        self._words = StageWords()
        self._warned.clear()
        self._seen_at_work, self._stale = False, True
        self.set(log=[], live_text="", percent=0, stage="")

    def start(self) -> None:
        """Start a training with the chosen settings, and follow it."""
        with self.context.notices.shown():
            folder, settings = self._folder(), self.panel.settings.settings()
            self.clear()
            run = self.training.start(folder, settings)
            self._note(f"Training {run.id} started")
            self.show()

    def estimate(self) -> None:
        """Measure a few steps."""
        with self.context.notices.shown():
            self.training.estimate(self._folder(), self.panel.settings.settings())
            self.set(estimating=True, estimate="Measuring a few steps...")

    def pause_or_resume(self) -> None:
        """Let the training pause, or go on."""
        with self.context.notices.shown():
            if self.training.state is not None and self.training.state.resumable:
                self.training.resume()
            else:
                self.set(pausing=True)
                self.training.pause()
            self.show()

    def cancel(self) -> None:
        """End the training for good, after asking."""
        self.panel.ask("End this training for good? What it has learned so far is deleted.", self._cancel)

    def show_command(self) -> None:
        """Show the command line that does the same."""
        with self.context.notices.shown():
            self.set(command=command(self.panel.settings.settings(), data=self._folder()))

    def build(self) -> None:
        """Write the widgets that start a training and follow it."""
        html.Div("{{ train_estimate }}", v_if="train_estimate", classes="text-body-2 mb-3", role="status",
                 style="white-space: pre-line", data_testid="train-estimate-text")  # fmt: skip
        blocked = "!train_cases.length || train_active || train_estimating"
        with html.Div(classes="d-flex flex-wrap mb-3", style="gap: 8px"):
            v3.VBtn("Start training", color="primary", disabled=(blocked,), click=self.start, data_testid="train-start")
            v3.VBtn("Estimate", disabled=(blocked,), click=self.estimate, data_testid="train-estimate")
            v3.VBtn("Command", variant="text", disabled=("!train_open_project",), click=self.show_command,
                    title="The command line that does the same", data_testid="train-command")  # fmt: skip
        self._command()
        v3.VAlert("{{ train_elsewhere }}", v_if="train_elsewhere && !train_active", type="info", variant="tonal",
                  density="compact", classes="mb-3 text-body-2", data_testid="train-elsewhere")  # fmt: skip
        self._progress()
        self._live()

    def build_views(self) -> None:
        """Write the charts of the layout that shows a training."""
        for kind, tag in PLOTS.items():
            self.context.views.fill(tag, lambda name=f"train_{kind}_chart": _chart_view(name))

    def _command(self) -> None:
        with html.Div(v_if="train_command", classes="mb-3"):
            v3.VTextarea(
                model_value=("train_command",),
                readonly=True,
                rows=3,
                auto_grow=True,
                density="compact",
                variant="outlined",
                hide_details=True,
                label="Command",
                classes="text-mono",
                data_testid="train-command-text",
            )
            v3.VBtn("Copy", size="small", classes="mt-1", prepend_icon="mdi-content-copy",
                    click="utils.get('navigator').clipboard.writeText(train_command)",
                    data_testid="train-copy")  # fmt: skip

    def _progress(self) -> None:
        with html.Div(v_if="train_active || train_resumable", classes="mb-2"):
            v3.VProgressLinear(
                v_if="train_active",
                model_value=("train_percent",),
                indeterminate=("!train_percent",),
                height=8,
                rounded=True,
                aria_label="Progress of the training",
                classes="mb-2",
                data_testid="train-progress",
            )
            with html.Div(classes="d-flex", style="gap: 8px"):
                v3.VBtn(
                    "{{ train_resumable ? 'Resume' : 'Pause' }}",
                    size="small",
                    disabled=("train_pausing || train_state === 'starting'",),
                    click=self.pause_or_resume,
                    data_testid="train-pause",
                )
                v3.VBtn("End", size="small", color="error", variant="outlined", click=self.cancel,
                        data_testid="train-cancel")  # fmt: skip
        html.Div("{{ train_stage }}", v_if="train_stage", classes="text-body-2 mb-2", role="status",
                 data_testid="train-stage")  # fmt: skip

    def _live(self) -> None:
        html.Div("{{ train_live_text }}", v_if="train_live_text", classes="text-body-2 mb-2",
                 data_testid="train-live-text")  # fmt: skip
        v3.VSwitch(v_model=("train_live",), label="Curves and example slice in the views", density="compact",
                   hide_details=True, color="primary", disabled=("!train_state && !train_live",),
                   data_testid="train-live")  # fmt: skip
        for name in ("train_dice_chart", "train_loss_chart"):
            html.Div(
                v_if=name,
                v_html=(name,),
                classes="mb-2",
                style="max-width: 420px",
                data_testid=name.replace("_", "-"),
            )
        with html.Div(v_if="train_sample", classes="mb-2"):
            html.Img(src=("train_sample",), width="100%", style="max-width: 300px; image-rendering: pixelated",
                     alt="Example slice: colors are what the network says, the outline is the label",
                     data_testid="train-sample")  # fmt: skip
            html.Div("Example slice, {{ train_sample_text }}: colors are what the network says, the green outline is "
                     "the label.", classes="text-caption")  # fmt: skip
        with v3.VExpansionPanels(v_if="train_log.length", classes="mt-2"), v3.VExpansionPanel():
            v3.VExpansionPanelTitle("Log")
            with v3.VExpansionPanelText(), html.Div(style="max-height: 240px; overflow: auto"):
                html.Div("{{ line }}", v_for="(line, index) in train_log", key="index", classes="text-caption")

    def _cancel(self) -> None:
        with self.context.notices.shown():
            self.set(stage="Ending...")
            self.training.cancel()
            self.show()

    def _folder(self) -> Any:
        project = self.cases.project
        if project is None:
            raise UsageError("No project is open.", "Open or create one first.")
        return project.folder

    def _on_estimate(self, answer: dict[str, Any]) -> None:
        self.set(estimating=False)
        self.panel.settings.show_estimate(answer)

    def _on_state(self, state: State) -> None:
        self._seen_at_work = self._seen_at_work or state.active
        self._stale = True
        if state in STATES:
            self._stage, self._left = STATES[state], ""
        if not state.active:
            self.set(percent=0)
        self._say()
        if self.training.run is not None:
            self._note(f"{self.training.run.id}: {state.value}")

    def _on_stage(self, name: str) -> None:
        text = self._words.of(name)
        if self.estimating:
            self.set(estimate=f"{text}...")
            return
        self._stage, self._left = text, ""
        if name not in TURNS:
            self.set(percent=0)
            self._note(text)
        self._say()

    def _on_progress(self, done: float, total: float, seconds_left: float | None) -> None:
        self.set(
            percent=int(100 * done / total) if 0 < done < total else 0
        )  # what follows the last step takes time too
        self._left = left_text(seconds_left)
        self._say()

    def _on_metric(self, step: int, values: dict[str, float]) -> None:
        self._stale = True
        text = validation_text(step, values)
        if text:
            self.set(live_text=text)
            self._note(text)

    def _on_sample(self, _sample: Any) -> None:
        self._stale = True

    def _on_warning(self, message: str) -> None:
        if message not in self._warned:  # often the same of every case
            self._warned.add(message)
            self._note(message)

    def _on_failed(self, error: HlfdError) -> None:
        news = self.estimating or self._seen_at_work
        if self.estimating:
            self.set(estimating=False, estimate=error.message)
        else:
            self._stage = error.message
            self._say()
        self._note(str(error))
        if news:  # not of a training that is found as it was left
            self.context.notices.show(error)

    def _on_live(self, **_state: Any) -> None:
        shown, live = bool(self.get("live")), self.training.live
        if shown != live.entered:
            with self.context.notices.shown():
                (live.enter if shown else live.leave)()
                node = self.context.scene.GetSingletonNode(SAMPLE, "vtkMRMLSliceNode")
                if node is not None:
                    node.SetAttribute(TITLE, "Example")
                self.context.views.redraw()

    def _say(self) -> None:
        state = self.training.state
        text = joined(self._stage, self._left)
        self.set(stage=f"{text}..." if state is not None and state.active else text)

    def _note(self, text: str) -> None:
        self.set(log=[*self.get("log"), f"{time.strftime('%H:%M:%S')}  {text}"][-_MOST_LINES:])


def _elsewhere(folder: Any) -> str:
    return (
        f"A training of another project is in progress on this server ({folder.parents[1].name}, {folder.name}); "
        "only one runs at a time."
    )


def _chart_view(name: str) -> None:
    with v3.VSheet(classes="pa-2", style="height: 100%; width: 100%; overflow: auto"):
        html.Div("No numbers yet.", v_if=f"!{name}", classes="text-body-2")
        html.Div(v_html=(name,), style="height: 100%; max-width: 720px; margin: auto")
