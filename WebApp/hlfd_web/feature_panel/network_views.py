"""The slice views of the networks: made one by one while these work, and fitted again when the page sized them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import slicer

from hlfd_web.views_layout import ViewKind, read_layout
from hlfd_web.views_slices import TITLE
from HLFDSegmentLib.feature_layout import FeatureLayout, layout_xml
from HLFDSegmentLib.feature_maps import TITLES
from HLFDSegmentLib.model_catalogue import DEMONSTRATION

if TYPE_CHECKING:
    from hlfd_web.app import Context

_WATCH_S = 4.0


def make_view(context: Context, role: str) -> None:
    """Make the view of a network before it is needed: each takes a while, and all at once would hold up the page."""
    for view in read_layout(layout_xml([role])).get_views(is_recursive=True):
        if view.view_type == ViewKind.SLICE_VIEW:
            context.slicer_app.view_manager.create_view(view)


class NetworkViews:
    """The views of the networks while they are shown: their titles, outlines in place of filled segments, and
    ``fit``, which is called when the page gave one of them another size."""

    def __init__(self, context: Context, layout: FeatureLayout, fit: Callable[[], None]) -> None:
        self._context, self._layout, self._fit = context, layout, fit
        self._nodes: tuple[slicer.vtkMRMLSliceNode, ...] = ()
        self._sizes: list[tuple[int, ...]] = []
        self._until = 0.0
        self._filled: slicer.vtkMRMLSegmentationDisplayNode | None = None

    def enter(self, roles: Sequence[str], watch: bool = True) -> None:
        """Name the views, and fit them whenever their size changes in the next seconds."""
        nodes = [self._layout.slice_node(role) for role in roles]
        for role, node in zip(roles, nodes):
            node.SetAttribute(TITLE, TITLES[role])
        self._show_outlines()
        self._context.state.view_notice = DEMONSTRATION
        if watch:
            self._nodes, self._until = tuple(nodes), time.monotonic() + _WATCH_S
            self._sizes = self._now()

    def leave(self) -> None:
        """Fill segments again."""
        self.stop()
        if self._filled is not None:
            self._filled.SetVisibility2DFill(True)
            self._filled = None
        if self._context.segmentation_node is None:
            self._context.state.view_notice = ""

    def stop(self) -> None:
        """Fit no more: the user moved the views."""
        self._nodes = ()

    def poll(self) -> None:
        """Fit if a size changed since the last look."""
        if not self._nodes:
            return
        sizes = self._now()
        if sizes != self._sizes:
            self._sizes = sizes
            self._fit()
        if time.monotonic() > self._until:
            self.stop()

    def _show_outlines(self) -> None:
        """Show the segmentation as outlines: filled, it would hide the maps."""
        node = self._context.segmentation_node
        display = node.GetDisplayNode() if node is not None else None
        if self._filled is None and display is not None and display.GetVisibility2DFill():
            display.SetVisibility2DFill(False)
            self._filled = display

    def _now(self) -> list[tuple[int, ...]]:
        return [tuple(node.GetDimensions()[:2]) for node in self._nodes]
