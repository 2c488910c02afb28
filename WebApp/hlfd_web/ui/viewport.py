"""What lies over the picture of a view: its name, the slice position, a slider, letters of the directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.views_slices import SliceState

if TYPE_CHECKING:
    from hlfd_web.app import Context


def slice_ui(context: Context) -> Callable[[Any, str, Any], None]:
    """Return the builder of what lies over slice views."""

    def build(_server: Any, tag: str, view: Any) -> None:
        names = SliceState(context.state, tag, view).names
        html.Div(
            "{{ " + names.text + " }}",
            classes="hlfd-view-text",
            data_testid=f"view-text-{tag}",
            style="position:absolute;top:6px;left:8px;color:#fff;pointer-events:none;text-shadow:0 0 3px #000",
        )
        with html.Div(style="position:absolute;left:8px;right:8px;bottom:0"):
            v3.VSlider(
                v_model=(names.offset,),
                min=(f"{names.range}[0]",),
                max=(f"{names.range}[1]",),
                step=(f"{names.range}[2]",),
                hide_details=True,
                density="compact",
                aria_label=("'Slice of ' + " + names.text,),
                data_testid=f"view-slider-{tag}",
            )

    return build


def three_d_ui(context: Context) -> Callable[[Any, str, Any], None]:
    """Return the builder of what lies over the 3-D view."""

    def build(_server: Any, tag: str, view: Any) -> None:
        html.Div(
            "3-D",
            classes="hlfd-view-text",
            style="position:absolute;top:6px;left:8px;color:#fff;pointer-events:none;text-shadow:0 0 3px #000",
        )

    return build
