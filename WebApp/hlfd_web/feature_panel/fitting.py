"""The slice views of the networks: made one by one while these work, and fitted again when the page sized them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import slicer

from hlfd_web.views_layout import ViewKind, read_layout
from HLFDSegmentLib.feature_layout import layout_xml

if TYPE_CHECKING:
    from hlfd_web.app import Context

_WATCH_S = 4.0


def make_view(context: Context, role: str) -> None:
    """Make the view of a network before it is needed: each takes a while, and all at once would hold up the page."""
    for view in read_layout(layout_xml([role])).get_views(is_recursive=True):
        if view.view_type == ViewKind.SLICE_VIEW:
            context.slicer_app.view_manager.create_view(view)


class Fitting:
    """Calls ``fit`` whenever the size of one of the watched views changes, for some seconds after ``watch``."""

    def __init__(self, fit: Callable[[], None]) -> None:
        self._fit = fit
        self._nodes: tuple[slicer.vtkMRMLSliceNode, ...] = ()
        self._sizes: list[tuple[int, ...]] = []
        self._until = 0.0

    def watch(self, nodes: Sequence[slicer.vtkMRMLSliceNode]) -> None:
        """Watch these views from now on."""
        self._nodes = tuple(nodes)
        self._sizes = self._now()
        self._until = time.monotonic() + _WATCH_S

    def stop(self) -> None:
        """Watch none: the user moved the views."""
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

    def _now(self) -> list[tuple[int, ...]]:
        return [tuple(node.GetDimensions()[:2]) for node in self._nodes]
