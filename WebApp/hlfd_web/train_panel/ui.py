"""The frame of the training panel: its sections, the task that is under way, and questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel


def build_drawer(panel: TrainPanel) -> None:
    """Write the panel's part of the drawer."""
    _task(panel)
    sections: tuple[tuple[str, str, Callable[[], None]], ...] = (
        ("project", "Project", panel.project.build),
        ("cases", "Cases", panel.list.build),
        ("add", "Add a case", panel.adding.build),
        ("import", "Import a data set", panel.imports.build),
        ("suggest", "Which case to label next", panel.suggest.build),
        ("train", "Training", lambda: _training(panel)),
        ("result", "Result", panel.outcome.build),
    )
    with v3.VExpansionPanels(v_model=("train_sections",), multiple=True, variant="accordion"):
        for name, title, build in sections:
            with v3.VExpansionPanel(value=name, data_testid=f"train-section-{name}"):
                v3.VExpansionPanelTitle(title)
                with v3.VExpansionPanelText():
                    build()
    _question(panel)


def _training(panel: TrainPanel) -> None:
    panel.settings.build()
    panel.run.build()


def _task(panel: TrainPanel) -> None:
    with html.Div(v_if="train_task || train_task_text", classes="mb-2", data_testid="train-task"):
        html.Div("{{ train_task_text }}", classes="text-body-2 mb-1", role="status")
        with html.Div(v_if="train_task", classes="d-flex align-center", style="gap: 8px"):
            v3.VProgressLinear(
                model_value=("train_task_percent",),
                indeterminate=("!train_task_percent",),
                height=8,
                rounded=True,
                aria_label="Progress of the task",
            )
            v3.VBtn("Cancel", size="small", click=panel.cancel_task, data_testid="train-task-cancel")


def _question(panel: TrainPanel) -> None:
    with (
        v3.VDialog(model_value=("!!train_ask_text",), max_width=440, persistent=True, data_testid="train-question"),
        v3.VCard(),
    ):
        v3.VCardText("{{ train_ask_text }}")
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Cancel", click=(panel.answer, "[false]"), data_testid="train-question-no")
            v3.VBtn("Go on", color="primary", click=(panel.answer, "[true]"), data_testid="train-question-yes")
