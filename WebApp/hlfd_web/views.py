"""The views of one session: which layout is shown, what lies in them and where they look.

Layouts live in the scene's layout node, as in Slicer: whatever sets its arrangement, also the libraries with a layout
of their own, is shown by the page at once. A slice or 3-D view is known by the singleton tag of its node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import slicer
from trame.widgets import client
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.views import AbstractView, SliceView, ThreeDView, ViewLayout
from trame_slicer.views.threed_view import ViewDirection

from hlfd_web.views_factory import register_factories
from hlfd_web.views_layout import LAYOUTS, SLICES, THREE_D, read_layout
from HLFDSegmentLib.display import jump_to

MAIN_TAGS = tuple(SLICES.values())
_GRID = "hlfd_views"
_GROUP = 0  # of the views of the application itself; layouts of panels have groups of their own


class Views:
    """All views of the page.

    ``layout`` is the name of the layout in ``LAYOUTS``, or "" while a panel shows one of its own. The page's state
    mirrors it in ``view_layout``.
    """

    def __init__(self, server: Any, slicer_app: SlicerApp, slice_ui: Any, three_d_ui: Any) -> None:
        self._server, self._app = server, slicer_app
        self._scene = slicer_app.scene
        self._manager = slicer_app.view_manager
        self._html = register_factories(self._manager, server, slice_ui, three_d_ui)
        self._grid = LayoutManager(self._scene, self._manager, server)
        # a template of its own: another layout leaves the rest of the page as it is, also how far it is scrolled
        with ViewLayout(server, template_name=_GRID) as page:
            self._grid.initialize_layout_grid(page)
        self._shown: tuple[int, str] | None = None
        self._unfitted: set[str] = set()
        self.layout_node = self._add_layout_node()
        self.layout_node.AddObserver("ModifiedEvent", lambda caller, event: self._follow_layout_node())
        self.layout_node.SetViewArrangement(LAYOUTS["quad"][0])
        for tag in MAIN_TAGS:
            self.view(tag).resized.connect(partial(self._on_resize, tag))

    @property
    def layout(self) -> str:
        """The name of the layout that is shown, "" for one that is not among ``LAYOUTS``."""
        number = self.layout_node.GetViewArrangement()
        return next((name for name, known in LAYOUTS.items() if known[0] == number), "")

    def show_layout(self, name: str, fit: bool = True) -> None:
        """Show one of ``LAYOUTS``; raises ``KeyError`` for another name. ``fit`` shows the volume whole, as soon as the
        page has given the views their new sizes."""
        self._unfitted = set(MAIN_TAGS) if fit else set()
        self.layout_node.SetViewArrangement(LAYOUTS[name][0])

    def fill(self, tag: str, build: Callable[[], None]) -> None:
        """Say what is in a plot or table view of a layout: ``build`` writes its widgets."""
        self._html.fill(tag, build)

    def build(self) -> None:
        """Put the grid of views into the page, at the place where this is called."""
        client.ServerTemplate(name=_GRID)

    def view(self, tag: str) -> AbstractView | None:
        """Return a view by the tag of its node, None where it was never shown."""
        return self._manager.get_view(tag)

    def slice_views(self, own: bool = True) -> list[SliceView]:
        """Return the slice views of the application, or with ``own=False`` all that were made."""
        return self._manager.get_slice_views(_GROUP if own else None)

    def three_d_view(self) -> ThreeDView:
        """Return the 3-D view."""
        view = self._manager.get_view(THREE_D)
        assert isinstance(view, ThreeDView)  # the first layout makes it
        return view

    def background(self, volume_node: slicer.vtkMRMLVolumeNode | None, fit: bool = True) -> None:
        """Show a volume, or none, in the slice views of the application; ``fit`` shows it whole."""
        for view in self.slice_views():
            view.set_background_volume_id(volume_node.GetID() if volume_node is not None else None)
        if fit and volume_node is not None:
            self.fit()

    def fit(self) -> None:
        """Show the volume whole in the slice views, and everything in the 3-D view."""
        for view in self.slice_views():
            view.fit_view_to_content()
        self.fit_3d()
        self.redraw()

    def fit_3d(self) -> None:
        """Show everything in the 3-D view from the front; where nothing is there yet, the place of the volume."""
        view = self.three_d_view()
        bounds = self._bounds_without_crosshair(view)
        node = self._scene.GetNodeByID(self.slice_views()[0].get_background_volume_id() or "")
        if bounds[0] > bounds[1] and node is not None:
            node.GetRASBounds(bounds := [0.0] * 6)
        if bounds[0] > bounds[1]:
            return
        view.rotate_to_view_direction(ViewDirection.ANTERIOR)
        view.renderer().ResetCamera(bounds)
        view.schedule_render()

    def _bounds_without_crosshair(self, view: ThreeDView) -> Sequence[float]:
        crosshair = self._scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        mode = crosshair.GetCrosshairMode()
        crosshair.SetCrosshairMode(crosshair.NoCrosshair)
        try:
            return view.renderer().ComputeVisiblePropBounds()
        finally:
            crosshair.SetCrosshairMode(mode)

    def go_to(self, position: Sequence[float]) -> None:
        """Centre the slice views on a RAS position in mm, and put the cross-hair there."""
        jump_to(self._scene, position)

    def redraw(self) -> None:
        """Draw the views that are shown again; needed only after changes that no node tells."""
        for view in self._manager.get_views():
            view.schedule_render()

    def _on_resize(self, tag: str) -> None:
        if tag in self._unfitted:
            self._unfitted.discard(tag)
            self.view(tag).fit_view_to_content()

    def _add_layout_node(self) -> slicer.vtkMRMLLayoutNode:
        node = slicer.vtkMRMLLayoutNode()
        for number, _title, xml in LAYOUTS.values():
            node.AddLayoutDescription(number, xml)
        return self._scene.AddNode(node)

    def _follow_layout_node(self) -> None:
        number = self.layout_node.GetViewArrangement()
        xml = self.layout_node.GetLayoutDescription(number)
        if not xml or (number, xml) == self._shown:
            return
        self._shown = number, xml
        key = f"{number}"
        self._grid.register_layout(key, read_layout(xml), lazy_initialization=True)
        self._grid.create_layout_views_if_needed(key)
        self._grid.set_layout(key)
        self._server.state.view_layout = self.layout
