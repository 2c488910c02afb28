"""The bar above: what is open, how the views show it, theme and help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.views_tools import MODES

if TYPE_CHECKING:
    from hlfd_web.app import Context

_MODE_ICONS = {"look": "mdi-cursor-move", "cross": "mdi-crosshairs", "window": "mdi-contrast-circle"}


def build_toolbar(context: Context) -> None:
    """Write the toolbar."""
    with v3.VAppBar(density="compact", flat=True, border="b"):
        icon_button("drawer", "mdi-menu", "Show or hide the panel (d)", "drawer_open = !drawer_open")
        html.Div("HLFD", classes="mr-3 ml-1", style="font-weight:700;letter-spacing:.03em")
        html.Div(
            "{{ volume_name }}",
            v_show="volume_name",
            classes="hlfd-muted text-truncate hlfd-wide",
            style="max-width:24vw",
            title=("volume_name",),
            data_testid="volume-name",
        )
        v3.VSpacer()
        _menu("window", "mdi-invert-colors", "Window of gray values (1 to 5)", "view_windows", "view_window")
        _modes()
        _toggle("crosshair", "mdi-plus", "Cross-hair (c)", "view_crosshair")
        _toggle("volume", "mdi-cube-outline", "Volume rendering (v)", "view_volume")
        icon_button("fit", "mdi-fit-to-page-outline", "Fit all views (f)", (context.views.fit, "[]"))
        _menu("layout", "mdi-view-dashboard-outline", "Layout of the views (m)", "view_layouts", "view_layout")
        v3.VDivider(vertical=True, classes="mx-1", inset=True)
        icon_button(
            "theme",
            ("theme === 'dark' ? 'mdi-weather-sunny' : 'mdi-weather-night'",),
            "Light or dark (t)",
            "theme = theme === 'dark' ? 'light' : 'dark'",
        )
        icon_button("help", "mdi-help-circle-outline", "Help and keys (?)", "help_open = true")


def icon_button(name: str, icon: object, label: str, click: object, **more: object) -> v3.VBtn:
    """Write a button that is an icon with a label for screen readers and a tip."""
    with v3.VBtn(icon=True, click=click, aria_label=label, data_testid=f"{name}-button", size="40", **more) as button:
        v3.VIcon(icon=icon)
        v3.VTooltip(label, activator="parent", location="bottom")
    return button


def _toggle(name: str, icon: str, label: str, key: str) -> None:
    icon_button(
        name,
        icon,
        label,
        f"{key} = !{key}",
        color=(f"{key} ? 'primary' : undefined",),
        aria_pressed=(f"{key} ? 'true' : 'false'",),
    )


def _modes() -> None:
    with v3.VBtnToggle(
        v_model=("view_mouse",),
        mandatory=True,
        density="compact",
        variant="text",
        color="primary",
        aria_label="What the mouse and a finger do in the views",
        role="group",
    ):
        for name, title in MODES.items():
            with v3.VBtn(value=name, icon=True, aria_label=title, data_testid=f"mouse-{name}", size="40"):
                v3.VIcon(icon=_MODE_ICONS[name])
                v3.VTooltip(title, activator="parent", location="bottom")


def _menu(name: str, icon: str, label: str, items: str, value: str) -> None:
    """Write a button with a list; a choice reaches the application with the name of the list."""
    with v3.VMenu():
        with (
            v3.Template(v_slot_activator="{ props }"),
            v3.VBtn(icon=True, v_bind="props", aria_label=label, title=label, data_testid=f"{name}-button", size="40"),
        ):
            v3.VIcon(icon=icon)
        with v3.VList(density="compact", aria_label=label):
            v3.VListItem(
                v_for=f"one in {items}",
                key="one.name",
                title=("one.title",),
                active=(f"one.name === {value}",),
                click=f"trigger('hlfd_choose', ['{name}', one.name])",
                data_testid=(f"'{name}-' + one.name",),
            )
