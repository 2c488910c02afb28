"""The widgets of the tab Models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

if TYPE_CHECKING:
    from hlfd_web.models_panel.panel import ModelsPanel


def build(panel: ModelsPanel) -> None:
    """Write the panel."""
    html.H2("Installed models")
    with v3.VList(density="compact", classes="py-0", bg_color="transparent", aria_label="Installed models"):
        v3.VListItem(
            v_for="one in model_rows",
            key="one.key",
            title=("one.title",),
            subtitle=("one.key + (one.own ? ', own' : '') + (one.chosen ? ', in use' : '')",),
            active=("one.key === model_open",),
            color="primary",
            rounded=True,
            click=(panel.show, "[one.key === model_open ? '' : one.key]"),
            data_testid="model-row",
        )
    _upload()
    html.Div("{{ model_busy }}...", v_if="model_busy", classes="mt-2", aria_live="polite", data_testid="model-busy")
    _card(panel)
    _question(
        "model_remove",
        "Delete this model from the server?",
        "model_remove",
        (panel.remove, "[]"),
        "model_remove = ''",
    )
    _question(
        "model_replace",
        "Replace your model by the one in the file?",
        "model_replace",
        (panel.replace, "[true]"),
        (panel.replace, "[false]"),
    )


def _upload() -> None:
    v3.VBtn(
        "Import a model (zip)",
        prepend_icon="mdi-upload",
        variant="tonal",
        block=True,
        classes="mt-2",
        data_hlfd_choose="model-file",
        disabled=("model_upload.state === 'running' || !!model_busy",),
        data_testid="model-import",
    )
    html.Input(
        type="file",
        id="model-file",
        accept=".zip",
        hidden=True,
        data_hlfd_upload="model_upload",
        data_hlfd_purpose="model",
        aria_label="Model package",
        data_testid="model-input",
    )
    with html.Div(v_if="model_upload.state === 'running'", classes="mt-2"):
        html.Div("Uploading {{ model_upload.name }}: {{ model_upload.percent }} %", aria_live="polite")
        with html.Div(classes="hlfd-row"):
            v3.VProgressLinear(model_value=("model_upload.percent",), height=8, rounded=True, color="primary")
            v3.VBtn("Cancel", size="small", variant="text", data_hlfd_cancel="model_upload")


def _card(panel: ModelsPanel) -> None:
    with html.Div(v_if="model_open", data_testid="model-card"):
        with (
            html.Div(v_for="one in model_rows.filter(one => one.key === model_open)", key="one.key"),
            html.Div("{{ one.notice }}", v_if="one.notice", classes="hlfd-demo"),
        ):
            pass
        with html.Div(classes="d-flex flex-wrap my-2", style="gap:8px"):
            own = "model_rows.some(one => one.key === model_open && one.own)"
            broken = "model_rows.some(one => one.key === model_open && one.problem)"
            v3.VBtn(
                "Use it",
                size="small",
                color="primary",
                variant="flat",
                click=(panel.use, "[model_open]"),
                disabled=(broken,),
                data_testid="model-use",
            )
            v3.VBtn(
                "Check its files",
                size="small",
                variant="tonal",
                click=(panel.verify, "[model_open]"),
                disabled=("!!model_busy",),
                data_testid="model-verify",
            )
            v3.VBtn(
                "Remove",
                size="small",
                variant="tonal",
                v_if=own,
                click="model_remove = model_open",
                data_testid="model-remove",
            )
        with html.Table(classes="hlfd-table"), html.Tbody(), html.Tr(v_for="row in model_facts", key="row[0]"):
            html.Th("{{ row[0] }}", scope="row")
            html.Td("{{ row[1] }}", classes="hlfd-wrap")
        with html.Div(v_for="(row, n) in model_card", key="n", classes="hlfd-wrap", style="font-size:.88rem"):
            html.H2("{{ row.text }}", v_if="row.kind === 'h'")
            html.Div("• {{ row.text }}", v_else_if="row.kind === 'li'", classes="ml-2 mb-1")
            html.P("{{ row.text }}", v_else=True, classes="mb-2")


def _question(key: str, title: str, text: str, agree: object, decline: object) -> None:
    with (
        v3.VDialog(model_value=(f"!!{key}",), persistent=True, max_width=460),
        v3.VCard(title=title, data_testid=f"{key}-dialog"),
    ):
        v3.VCardText("{{ " + text + " }}")
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Cancel", click=decline, data_testid=f"{key}-no")
            v3.VBtn("Yes", color="primary", click=agree, data_testid=f"{key}-yes")
