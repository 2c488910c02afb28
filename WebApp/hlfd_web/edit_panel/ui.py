"""The widgets of the edit panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

if TYPE_CHECKING:
    from hlfd_web.edit_panel.panel import EditPanel

_TOOLS = (("look", "Look", "mdi-cursor-move"), ("paint", "Paint", "mdi-brush"), ("erase", "Erase", "mdi-eraser"))
_LOWEST_HU, _HIGHEST_HU = -200, 600
_HINT = (
    "Drag in a slice view to paint; Shift and the wheel change the brush. Painting one structure takes the voxels from "
    "the others: to turn tumor into kidney, paint kidney over it."
)


def build_drawer(panel: EditPanel) -> None:
    """Write the panel's part of the drawer."""
    with html.Div(v_if="!edit_ready", data_testid="edit-nothing"):
        html.P("No segmentation is shown. Segment the CT first, or draw from nothing.", classes="text-body-2 mb-3")
        v3.VBtn("New segmentation", block=True, disabled=("!edit_has_volume",), click=panel.begin,
                data_testid="edit-begin")  # fmt: skip
    with html.Div(v_if="edit_ready", data_testid="edit-ready"):
        html.Div("{{ edit_name }}", classes="text-subtitle-2 mb-2", data_testid="edit-name")
        _tools(panel)
        _brush()
        _segments(panel)
        _outcome(panel)


def _tools(panel: EditPanel) -> None:
    with html.Div(classes="d-flex flex-wrap align-center mb-2", style="gap: 8px"):
        with v3.VBtnToggle(
            v_model=("edit_tool",), mandatory=True, density="compact", color="primary", variant="outlined", divided=True
        ):
            for value, title, icon in _TOOLS:
                v3.VBtn(title, value=value, prepend_icon=icon, size="small", data_testid=f"edit-tool-{value}")
        with html.Div(classes="d-flex", style="gap: 4px"):
            for title, icon, click, flag in (
                ("Undo", "mdi-undo", panel.undo, "edit_can_undo"),
                ("Redo", "mdi-redo", panel.redo, "edit_can_redo"),
            ):
                v3.VBtn(
                    icon=icon,
                    size="small",
                    variant="text",
                    disabled=(f"!{flag}",),
                    click=click,
                    title=title,
                    aria_label=title,
                    data_testid=f"edit-{title.lower()}",
                )
    html.P(_HINT, v_if="edit_tool !== 'look'", classes="hlfd-muted mb-2")


def _brush() -> None:
    html.Div("Brush: {{ Math.round(10 * edit_brush) / 10 }} mm", classes="text-body-2", data_testid="edit-brush-text")
    v3.VSlider(
        v_model=("edit_brush",),
        min=1,
        max=60,
        step=0.5,
        aria_label="Diameter of the brush in mm",
        density="compact",
        hide_details=True,
        data_testid="edit-brush",
    )
    common = {"density": "compact", "hide_details": True, "color": "primary"}
    v3.VSwitch(v_model=("edit_sphere",), label="Sphere: also in the slices beside", data_testid="edit-sphere", **common)
    v3.VSwitch(v_model=("edit_mask",), label="Only where the HU fit", data_testid="edit-mask", **common)
    with html.Div(v_if="edit_mask", classes="mb-2"):
        v3.VRangeSlider(
            v_model=("edit_range",),
            min=_LOWEST_HU,
            max=_HIGHEST_HU,
            step=5,
            thumb_label=True,
            density="compact",
            hide_details=True,
            aria_label="Range of HU that may be changed",
            data_testid="edit-range",
        )
        html.Div("{{ edit_range[0] }} to {{ edit_range[1] }} HU", classes="text-caption text-center")


def _segments(panel: EditPanel) -> None:
    html.H3("Structure to paint", classes="text-subtitle-2 mt-3 mb-1")
    with (
        v3.VList(density="compact", classes="py-0", role="radiogroup", aria_label="Structure to paint"),
        v3.VListItem(
            v_for="one in edit_segments",
            key="one.id",
            title=("one.name",),
            subtitle=("one.ml",),
            active=("one.id === edit_segment",),
            click="edit_segment = one.id",
            role="radio",
            aria_checked=("one.id === edit_segment",),
            data_testid=("'edit-segment-' + one.id",),
        ),
    ):
        with v3.Template(v_slot_prepend=True):
            v3.VIcon("mdi-square-rounded", color=("one.color",), aria_hidden="true")
        with v3.Template(v_slot_append=True):
            v3.VBtn(
                icon=("one.shown ? 'mdi-eye-outline' : 'mdi-eye-off-outline'",),
                size="small",
                variant="text",
                v_on_click_stop=(panel.toggle, "[one.id]"),
                aria_label=("(one.shown ? 'Hide ' : 'Show ') + one.name",),
                data_testid=("'edit-eye-' + one.id",),
            )


def _outcome(panel: EditPanel) -> None:
    v3.VAlert(
        "{{ edit_changed_text }}",
        v_if="edit_changed_text",
        type="info",
        variant="tonal",
        density="compact",
        classes="mt-3 text-body-2",
        data_testid="edit-changed",
    )
    html.Div(
        "The 3-D surfaces are being made again...",
        v_if="edit_surfaces_busy",
        classes="text-caption mt-2",
        role="status",
    )
    v3.VBtn(
        "Save the correction",
        block=True,
        classes="mt-3",
        prepend_icon="mdi-content-save-outline",
        disabled=("edit_saving",),
        click=panel.save,
        title="Write the segments as they are now into the results of the data folder",
        data_testid="edit-save",
    )
    v3.VBtn(
        "Add as training case...",
        block=True,
        classes="mt-2",
        prepend_icon="mdi-school-outline",
        click=panel.to_training,
        data_testid="edit-train",
    )
