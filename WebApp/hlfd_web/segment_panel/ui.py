"""The widgets of the tab Segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.segment_panel.words import MARK_DOUBTFUL
from HLFDSegmentLib.lesion_rows import HEADERS

if TYPE_CHECKING:
    from hlfd_web.segment_panel.panel import SegmentPanel

_STRUCTURE_HEADERS = ("Structure", "Volume (ml)", "Longest (mm)", "HU")


def build(panel: SegmentPanel) -> None:
    """Write the panel."""
    _choices()
    _run(panel)
    _confirm(panel)
    _results(panel)
    _display(panel)
    _downloads(panel)


def _choices() -> None:
    v3.VSelect(v_model=("seg_model",), items=("seg_models",), label="Model", data_testid="seg-model", classes="mt-1")
    html.Div("{{ seg_notice }}", v_if="seg_notice", classes="hlfd-demo", data_testid="seg-notice")
    v3.VSelect(
        v_model=("seg_device",), items=("seg_devices",), label="Device", data_testid="seg-device", classes="mt-2"
    )
    html.Div("{{ seg_device_text }}", v_if="seg_device_text", classes="hlfd-muted mt-1", data_testid="seg-device-text")
    v3.VCheckbox(v_model=("seg_doubtful",), label=MARK_DOUBTFUL, data_testid="seg-doubtful")


def _run(panel: SegmentPanel) -> None:
    v3.VBtn(
        "{{ seg_task ? 'Segment ' + seg_task : 'Segment' }}",
        prepend_icon="mdi-auto-fix",
        block=True,
        size="large",
        color="primary",
        variant="flat",
        classes="mt-3",
        click=(panel.run, "[]"),
        disabled=("seg_running || !seg_has_volume || !!seg_problem",),
        data_testid="segment-button",
    )
    html.Div("Open a CT first.", v_if="!seg_has_volume", classes="hlfd-muted mt-1")
    with html.Div(v_if="seg_running", classes="mt-3", data_testid="seg-progress"):
        with html.Div(classes="hlfd-row"):
            v3.VProgressLinear(
                model_value=("seg_percent",),
                indeterminate=("!seg_known",),
                height=10,
                rounded=True,
                color="primary",
                aria_label="Progress of the segmentation",
            )
            v3.VBtn(
                "Cancel",
                size="small",
                variant="tonal",
                click=(panel.cancel, "[]"),
                disabled=("seg_cancelling",),
                data_testid="seg-cancel",
            )
        html.Div(
            "{{ seg_cancelling ? 'Cancelling...' : seg_stage + (seg_known ? ', ' + seg_percent + ' %' : '') }}",
            classes="hlfd-muted mt-1",
            data_testid="seg-stage",
        )
    html.Div("{{ seg_done }}", v_if="!seg_running && seg_done", classes="hlfd-muted mt-2", data_testid="seg-done")


def _confirm(panel: SegmentPanel) -> None:
    with (
        v3.VDialog(model_value=("seg_confirm.length > 0",), persistent=True, max_width=480),
        v3.VCard(title="Replace edited segments?", data_testid="seg-confirm"),
    ):
        v3.VCardText("These segments were edited and will be replaced: {{ seg_confirm.join(', ') }}.")
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Keep them", click="seg_confirm = []", data_testid="seg-keep")
            v3.VBtn("Replace", color="primary", click=(panel.begin, "[]"), data_testid="seg-replace")


def _results(panel: SegmentPanel) -> None:
    with html.Div(v_if="seg_has_result", data_testid="seg-results"):
        html.H2("Lesions")
        html.Div("No lesion was found.", v_if="!seg_lesions.length", data_testid="seg-none")
        with html.Table(classes="hlfd-table hlfd-lesions", v_if="seg_lesions.length", data_testid="lesion-table"):
            _header(HEADERS, numbers=range(2, 5), rows="seg_lesions")
            with (
                html.Tbody(),
                html.Tr(
                    v_for="(row, index) in seg_lesions",
                    key="index",
                    classes="goes",
                    tabindex=0,
                    title=("row.hint",),
                    click=(panel.results.go_to, "[index]"),
                    v_on_keydown_enter=(panel.results.go_to, "[index]"),
                    v_on_keydown_space_prevent=(panel.results.go_to, "[index]"),
                    aria_selected=("seg_row === index ? 'true' : 'false'",),
                    data_testid="lesion-row",
                ),
            ):
                html.Td(
                    "{{ cell }}", v_for="(cell, n) in row.cells", key="n", classes=("n > 1 && n < 5 ? 'number' : ''",)
                )
        html.Div("A row moves all views to its lesion.", v_if="seg_lesions.length", classes="hlfd-muted mt-1")
        with html.Table(classes="hlfd-table mt-3", data_testid="structure-table"):
            _header(_STRUCTURE_HEADERS, numbers=range(1, 4))
            with html.Tbody(), html.Tr(v_for="(row, index) in seg_structures", key="index"):
                html.Td("{{ row[0] }}")
                html.Td("{{ row[n] }}", v_for="n in [2, 3, 4]", key="n", classes="number")
        html.Div("{{ one }}", v_for="one in seg_warnings", key="one", classes="hlfd-demo", data_testid="seg-warning")
        html.Div(
            "Edited since it was measured: {{ seg_edited.join(', ') }}. The numbers are those before.",
            v_if="seg_edited.length",
            classes="hlfd-demo",
            data_testid="seg-edited",
        )
        html.Div("{{ one }}", v_for="one in seg_facts", key="one", classes="hlfd-muted mt-1")


def _header(titles: tuple[str, ...], numbers: range, rows: str = "") -> None:
    """Write the titles; where ``rows`` names the state of the rows, those of columns that they have."""
    with html.Thead(), html.Tr():
        for index, title in enumerate(titles):
            shown = {"v_if": f"{rows}[0].cells.length > {index}"} if rows else {}
            html.Th(title, scope="col", classes="number" if index in numbers else "", **shown)


def _display(panel: SegmentPanel) -> None:
    with html.Div(v_if="seg_segments.length", data_testid="seg-display"):
        html.H2("Display")
        with html.Div(
            v_for="one in seg_segments", key="one.id", classes="hlfd-row", data_testid=("'structure-' + one.name",)
        ):
            html.Span(classes="hlfd-swatch", style=("{ background: one.color }",), aria_hidden="true")
            html.Span("{{ one.name }}", classes="flex-grow-1")
            v3.VBtn(
                icon=("one.shown ? 'mdi-eye-outline' : 'mdi-eye-off-outline'",),
                size="small",
                variant="text",
                click=(panel.results.set_segment, "[one.id, !one.shown]"),
                aria_label=("(one.shown ? 'Hide ' : 'Show ') + one.name",),
                aria_pressed=("one.shown ? 'true' : 'false'",),
                data_testid="segment-visible",
            )
        v3.VSlider(
            v_model=("seg_opacity",),
            min=0,
            max=1,
            step=0.05,
            label="Opacity",
            density="compact",
            color="primary",
            data_testid="seg-opacity",
        )
        v3.VSwitch(v_model=("seg_outline",), label="Outlines only", data_testid="seg-outline")
        v3.VSwitch(v_model=("seg_surfaces",), label="Surfaces in 3-D", data_testid="seg-surfaces")


def _downloads(panel: SegmentPanel) -> None:
    with html.Div(v_if="seg_segments.length"):
        html.H2("Download")
        with html.Div(classes="d-flex flex-wrap", style="gap:8px"):
            for what, title, icon in (
                ("labels", "Segmentation", "mdi-shape-outline"),
                ("report", "Report", "mdi-file-document-outline"),
                ("csv", "Measurements", "mdi-table"),
            ):
                busy = {"loading": ("seg_report_busy",)} if what == "report" else {}
                needs = "false" if what == "labels" else "!seg_has_result"
                v3.VBtn(
                    title,
                    prepend_icon=icon,
                    size="small",
                    variant="tonal",
                    click=(panel.results.download, f"['{what}']"),
                    disabled=(needs,),
                    data_testid=f"download-{what}",
                    **busy,
                )
        html.Div(
            "Saved on the server: {{ seg_saved }}",
            v_if="seg_saved",
            classes="hlfd-muted hlfd-wrap mt-2",
            data_testid="seg-saved",
        )
