"""The frame of the page: toolbar, drawer with the tabs of the panels, views, notices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd_web.downloads import build_downloads

if TYPE_CHECKING:
    from hlfd_web.app import Context

DRAWER_WIDTH = 380


def build_page(context: Context) -> None:
    """Write the whole page once; the panels write their own part."""
    state = context.state
    state.update({"trame__title": "HLFD", "panel": "open", "drawer_open": True, "theme": "dark"})
    with VAppLayout(context.server) as page:
        page.root.theme = ("theme",)
        with v3.VAppBar(density="compact"):
            v3.VAppBarNavIcon(
                click="drawer_open = !drawer_open", aria_label="Show or hide the panel", data_testid="drawer-button"
            )
            v3.VAppBarTitle("HLFD")
        with v3.VNavigationDrawer(v_model=("drawer_open",), width=DRAWER_WIDTH, permanent=True):
            with v3.VTabs(v_model=("panel",), density="compact", show_arrows=True):
                for panel in context.panels.values():
                    v3.VTab(panel.title, value=panel.name, data_testid=f"tab-{panel.name}")
            for panel in context.panels.values():
                with html.Div(v_if=f"panel === '{panel.name}'", classes="pa-3", data_testid=f"panel-{panel.name}"):
                    panel.build()
        with v3.VMain(style="height: 100vh"):
            with html.Div(style="height:100%;display:flex"):
                context.views.initialize(page)
        with html.Div(classes="hlfd-notices", style="position:fixed;right:12px;bottom:12px;z-index:3000;width:360px"):
            with v3.VAlert(
                v_for="one in notices",
                key="one.id",
                type=("one.kind",),
                closable=True,
                click_close=(context.notices.close, "[one.id]"),
                data_testid="notice",
                classes="mb-2",
            ):
                html.Div("{{ one.text }}")
                html.Div("{{ one.remedy }}", v_if="one.remedy")
        build_downloads(context)
        html.Div("{{ notice_spoken }}", aria_live="polite", classes="d-sr-only")
