"""What lies over the picture of a view: name and position, directions of the patient, slider, small buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.views_slices import SliceState

if TYPE_CHECKING:
    from hlfd_web.app import Context

Builder = Callable[[Any, str, Any], None]
_SIDES = ("left", "right", "top", "bottom")


def slice_ui(context: Context) -> Builder:
    """Return the builder of what lies over slice views."""

    def build(_server: Any, tag: str, view: Any) -> None:
        names = SliceState(context, tag, view).names
        red, green, blue = (round(255 * part) for part in view.get_view_node().GetLayoutColor())
        with html.Div(classes="hlfd-view"):
            html.Div(classes="hlfd-view-color", style=f"background:rgb({red},{green},{blue})")
            html.Div(
                "{{ " + names.text + " }}<br>{{ view_gray }}",
                classes="hlfd-view-text",
                data_testid=f"view-text-{tag}",
            )
            for index, side in enumerate(_SIDES):
                html.Div("{{ " + f"{names.letters}[{index}]" + " }}", classes=f"hlfd-view-{side}", aria_hidden="true")
            html.Div("{{ view_notice }}", classes="hlfd-view-notice", v_show="view_notice")
            _buttons(tag, "slice view")
            _slider(tag, names)

    return build


def three_d_ui(context: Context) -> Builder:
    """Return the builder of what lies over the 3-D view."""

    def build(_server: Any, tag: str, _view: Any) -> None:
        with html.Div(classes="hlfd-view"):
            html.Div("3-D", classes="hlfd-view-text")
            html.Div(
                "Segment the CT to see surfaces, or turn volume rendering on (v).",
                classes="hlfd-view-hint",
                v_show="volume_name && !view_notice && !view_volume",
            )
            html.Div("{{ view_notice }}", classes="hlfd-view-notice", v_show="view_notice", style="bottom:8px")
            _buttons(tag, "3-D view")

    return build


def _slider(tag: str, names: Any) -> None:
    with html.Div(classes="hlfd-view-slider"):
        v3.VSlider(
            v_model=(names.offset,),
            min=(f"{names.range}[0]",),
            max=(f"{names.range}[1]",),
            step=(f"{names.range}[2]",),
            hide_details=True,
            density="compact",
            color="white",
            thumb_size=14,
            track_size=3,
            aria_label=(f"'Slice position: ' + {names.text}",),
            data_testid=f"view-slider-{tag}",
        )


def _buttons(tag: str, what: str) -> None:
    with html.Div(classes="hlfd-view-buttons"):
        for name, icon, label, expression in (
            ("smaller", "mdi-magnify-minus-outline", "Show smaller", f"trigger('hlfd_zoom', ['{tag}', 0.8])"),
            ("larger", "mdi-magnify-plus-outline", "Show larger", f"trigger('hlfd_zoom', ['{tag}', 1.25])"),
            ("alone", "mdi-arrow-expand", "Show alone or with the others", f"trigger('hlfd_key', ['m', '{tag}'])"),
        ):
            v3.VBtn(
                icon=icon,
                size="32",
                variant="text",
                color="white",
                click=expression,
                aria_label=f"{label}: {what}",
                title=label,
                data_testid=f"view-{name}-{tag}",
            )
