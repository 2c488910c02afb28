"""What a panel of the drawer is, and which ones there are, in the order of their tabs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hlfd_web.app import Context

PANELS = (
    "hlfd_web.open_panel:OpenPanel",
    "hlfd_web.segment_panel:SegmentPanel",
    "hlfd_web.edit_panel:EditPanel",
    "hlfd_web.feature_panel:FeaturePanel",
    "hlfd_web.train_panel:TrainPanel",
    "hlfd_web.models_panel:ModelsPanel",
)
"""``module:class`` of each panel, in the order Open, Segment, Edit, Features, Train, Models."""


class Panel:
    """One tab of the drawer, over the logics of the libraries and the one ``Context`` of the session.

    ``__init__`` makes logics and sets the panel's state, all of whose names begin with ``name`` or the prefix that
    the panel chose. ``build`` writes the widgets once. ``enter`` and ``leave`` follow the tab; work goes on while the
    panel is hidden. ``close`` stops it, when the session ends.
    """

    name = ""
    """Short name, unique: it is the value of the tab and part of ``data-testid``."""
    title = ""
    icon = "mdi-circle-outline"

    def __init__(self, context: Context) -> None:
        self.context = context
        self.server = context.server
        self.state = context.state
        self.ctrl = context.ctrl
        self.scene = context.scene

    def build(self) -> None:
        """Write the widgets of the panel; called once, inside the drawer."""

    def enter(self) -> None:
        """Show what is there now; called when the tab is opened."""

    def leave(self) -> None:
        """Put views back and let go of the mouse; called when another tab is opened."""

    def close(self) -> None:
        """Stop all work; called when the session ends."""


def panel_types(names: tuple[str, ...] = PANELS) -> list[type[Panel]]:
    """Import the classes of the panels."""
    found = []
    for name in names:
        module, _, kind = name.partition(":")
        found.append(getattr(import_module(module), kind))
    return found
