"""The widgets of the feature viewer: its part of the drawer, and the plot and the table under the views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.feature_panel.numbers import HEADERS
from hlfd_web.feature_panel.words import OWN_COLORS
from HLFDSegmentLib.feature_colors import CHOICES
from HLFDSegmentLib.feature_layout import ORIENTATIONS, PLOT_VIEW, TABLE_VIEW

if TYPE_CHECKING:
    from hlfd_web.feature_panel.panel import FeaturePanel

_FIELD = {"density": "compact", "hide_details": True, "variant": "outlined", "classes": "mb-3"}
_CHANNEL_HEADERS = ("Network", "Channel", "Selectivity")


def build_drawer(panel: FeaturePanel) -> None:
    """Write the panel's part of the drawer."""
    _run(panel)
    with html.Div(v_if="feat_shown", data_testid="features-shown"):
        _look()
        _channels(panel)
        _outputs(panel)


def _run(panel: FeaturePanel) -> None:
    v3.VSelect(v_model=("feat_model",), items=("feat_models",), label="Model", data_testid="features-model", **_FIELD)
    html.Div("{{ feat_notice }}", v_if="feat_notice", classes="hlfd-demo", data_testid="features-notice")
    v3.VSelect(v_model=("feat_place",), items=("feat_places",), label="Region", data_testid="features-place", **_FIELD)
    v3.VSelect(
        v_model=("feat_teacher",), items=("feat_teachers",), label="Teacher", data_testid="features-teacher", **_FIELD
    )
    v3.VBtn(
        "Show feature maps",
        block=True,
        color="primary",
        disabled=("feat_running || !feat_model",),
        click=panel.start,
        data_testid="features-button",
    )
    with html.Div(v_if="feat_running", classes="d-flex align-center mt-2", style="gap: 8px"):
        v3.VProgressLinear(
            model_value=("feat_percent",),
            indeterminate=("!feat_percent",),
            height=8,
            rounded=True,
            aria_label="Progress of the feature maps",
            data_testid="features-progress",
        )
        v3.VBtn("Cancel", size="small", disabled=("feat_cancelling",), click=panel.cancel,
                data_testid="features-cancel")  # fmt: skip
    html.Div(
        "{{ feat_text }}",
        v_if="feat_text",
        classes="mt-2 mb-3 text-body-2",
        style="white-space: pre-line",
        role="status",
        data_testid="features-text",
    )


def _look() -> None:
    colors = [{"title": OWN_COLORS, "value": ""}, *({"title": name, "value": name} for name in CHOICES)]
    v3.VSelect(v_model=("feat_pair",), items=("feat_pairs",), label="Layer", data_testid="features-pair", **_FIELD)
    v3.VSelect(v_model=("feat_kind",), items=("feat_kinds",), label="Map", data_testid="features-kind", **_FIELD)
    v3.VSelect(v_model=("feat_colors",), items=("feat_color_items", colors), label="Colors",
               data_testid="features-colors", **_FIELD)  # fmt: skip
    v3.VSelect(v_model=("feat_orientation",), items=("feat_orientations", list(ORIENTATIONS)), label="Orientation",
               data_testid="features-orientation", **_FIELD)  # fmt: skip
    v3.VSlider(
        v_model=("feat_opacity",),
        min=0,
        max=1,
        step=0.05,
        label="Opacity",
        thumb_label=True,
        density="compact",
        hide_details=True,
        classes="mb-2",
        data_testid="features-opacity",
    )
    html.Div(
        "{{ feat_values || 'Put the cross-hair somewhere to read the values there.' }}",
        classes="text-body-2 mb-3",
        role="status",
        data_testid="features-values",
    )


def _channels(panel: FeaturePanel) -> None:
    html.H3("Channels", classes="text-subtitle-2 mb-1")
    v3.VTextField(
        v_model=("feat_search",),
        label="Search a channel or network",
        clearable=True,
        prepend_inner_icon="mdi-magnify",
        data_testid="features-search",
        **_FIELD,
    )
    with (
        html.Div(style="max-height: 240px; overflow: auto"),
        html.Table(classes="hlfd-table", data_testid="features-channels"),
    ):
        with html.Thead(), html.Tr():
            for header in _CHANNEL_HEADERS:
                html.Th(header, scope="col")
        with (
            html.Tbody(),
            html.Tr(
                v_for="row in feat_channels",
                key="row.id",
                tabindex="0",
                role="button",
                style="cursor: pointer",
                classes=("row.chosen ? 'goes font-weight-bold text-primary' : 'goes'",),
                aria_pressed=("row.chosen",),
                click=(panel.show_channel, "[row.role, row.channel]"),
                v_on_keydown_enter=(panel.show_channel, "[row.role, row.channel]"),
                data_testid="features-channel",
            ),
        ):
            html.Td("{{ cell }}", v_for="(cell, index) in row.cells", key="index")
    html.Div("{{ feat_channels_text }}", v_if="feat_channels_text", classes="text-caption mt-1")


def _outputs(panel: FeaturePanel) -> None:
    with html.Div(classes="d-flex flex-wrap mt-3", style="gap: 8px"):
        v3.VBtn("Figure", prepend_icon="mdi-download", size="small", click=panel.exports.figure,
                title="Download the views side by side with their legend (PNG)",
                data_testid="features-figure")  # fmt: skip
        v3.VBtn("Maps", prepend_icon="mdi-download", size="small", click=panel.exports.maps,
                title="Download the maps in their own grids (NRRD)", data_testid="features-maps")  # fmt: skip
        v3.VBtn("Leave", size="small", variant="outlined", click=panel.leave_maps,
                title="Remove the maps and restore the views", data_testid="features-leave")  # fmt: skip


def build_views(panel: FeaturePanel) -> None:
    """Write the plot and the table that lie under the slice views."""
    panel.context.views.fill(PLOT_VIEW, _plot)
    panel.context.views.fill(TABLE_VIEW, lambda: _table(panel))


def _plot() -> None:
    with v3.VSheet(classes="hlfd-html-view pa-2", style="height: 100%; width: 100%; overflow: auto"):
        html.Div(v_html=("feat_chart",), data_testid="features-chart", style="height: 100%; max-width: 640px")


def _table(panel: FeaturePanel) -> None:
    with (
        v3.VSheet(classes="hlfd-html-view", style="height: 100%; width: 100%; overflow: auto; padding: 4px 8px"),
        html.Table(classes="hlfd-table", data_testid="features-numbers"),
    ):
        with html.Thead(), html.Tr():
            for header in HEADERS:
                html.Th(header, scope="col")
        with (
            html.Tbody(),
            html.Tr(
                v_for="row in feat_numbers",
                key="row.id",
                classes=("row.pair === feat_pair ? 'font-weight-bold' : ''",),
                style="cursor: pointer",
                click="feat_pair = row.pair",
            ),
        ):
            html.Td("{{ cell }}", v_for="(cell, index) in row.cells", key="index")
