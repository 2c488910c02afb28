"""The frame of the page: toolbar, drawer with the tabs of the panels, views, notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.downloads import build_downloads
from hlfd_web.ui.assets import enable_assets
from hlfd_web.ui.help import build_help
from hlfd_web.ui.toolbar import build_toolbar

if TYPE_CHECKING:
    from hlfd_web.app import Context

_COLORS = {
    "dark": {"primary": "#5aa9ff", "surface": "#1b1e23", "background": "#101215", "warning": "#ffb300"},
    "light": {"primary": "#0f5fae", "surface": "#ffffff", "background": "#f3f4f6", "warning": "#b25e00"},
}
_VUETIFY = {
    "theme": {
        "defaultTheme": "dark",
        "themes": {name: {"dark": name == "dark", "colors": colors} for name, colors in _COLORS.items()},
    },
    "defaults": {
        "VBtn": {"ripple": False},
        "VSelect": {"density": "compact", "variant": "outlined", "hideDetails": "auto"},
        "VTextField": {"density": "compact", "variant": "outlined", "hideDetails": "auto"},
        "VSlider": {"hideDetails": True},
        "VSwitch": {"density": "compact", "hideDetails": True, "color": "primary", "inset": True},
        "VCheckbox": {"density": "compact", "hideDetails": True, "color": "primary"},
    },
}


def build_page(context: Context) -> None:
    """Write the whole page once; the panels write their own part."""
    enable_assets(context.server)
    context.state.update({"trame__title": "HLFD", "drawer_open": True, "theme": "dark", "volume_name": ""})
    with VAppLayout(context.server, vuetify_config=_VUETIFY) as page:
        page.root.theme = ("theme",)
        build_toolbar(context)
        with v3.VMain(), html.Div(classes="hlfd-body"):
            _drawer(context)
            with html.Div(classes="hlfd-main", role="main", aria_label="Views"):
                context.views.build()
        build_help()
        _notices(context)
        build_downloads(context)
        html.Div("{{ notice_spoken }}", aria_live="polite", role="status", classes="d-sr-only")


def _drawer(context: Context) -> None:
    with html.Div(classes="hlfd-drawer", v_show="drawer_open", role="complementary", aria_label="Panel"):
        with v3.VTabs(v_model=("panel", "open"), grow=True, stacked=True, density="compact", classes="hlfd-tabs"):
            for panel in context.panels.values():
                with v3.VTab(value=panel.name, data_testid=f"tab-{panel.name}"):
                    v3.VIcon(icon=panel.icon)
                    html.Span(panel.title)
        for panel in context.panels.values():
            with html.Div(
                v_if=f"panel === '{panel.name}'",
                classes="hlfd-panel",
                role="region",
                aria_label=panel.title,
                data_testid=f"panel-{panel.name}",
            ):
                panel.build()


def _notices(context: Context) -> None:
    with (
        html.Div(classes="hlfd-notices", data_testid="notices"),
        v3.VAlert(
            v_for="one in notices",
            key="one.id",
            type=("one.kind",),
            closable=True,
            density="compact",
            close_label="Close this notice",
            click_close=(context.notices.close, "[one.id]"),
            data_testid=("'notice-' + one.kind",),
            classes="mb-2",
        ),
    ):
        html.Div("{{ one.text }}", classes="hlfd-wrap")
        html.Div("{{ one.remedy }}", v_if="one.remedy", classes="hlfd-wrap", style="opacity:.85;font-size:.9em")
