"""How a view of the scene is made and streamed to the page: slice and 3-D views, and views that are plain HTML."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from trame_slicer.rca_view import RemoteSliceViewFactory, RemoteThreeDViewFactory
from trame_slicer.views import AbstractView, IViewFactory, ViewLayout, ViewLayoutDefinition
from trame_slicer.views.render_scheduler import NoScheduleRendering

from hlfd_web.views_layout import ViewKind

Builder = Callable[[Any, str, AbstractView], None]
_FPS, _IDLE_FPS = 30.0, 15.0
_MOVING_QUALITY = 60


def register_factories(view_manager: Any, server: Any, slice_ui: Builder, three_d_ui: Builder) -> HtmlViewFactory:
    """Let ``view_manager`` make views for the page; the builders write what lies over each picture."""
    common = {
        "target_fps": _FPS,
        "blur_fps": _IDLE_FPS,
        "interactive_quality": _MOVING_QUALITY,
        "rca_event_throttle_s": 0.016,
    }
    view_manager.register_factory(_SliceFactory(server, populate_view_ui_f=slice_ui, **common))
    view_manager.register_factory(_ThreeDFactory(server, populate_view_ui_f=three_d_ui, **common))
    html = HtmlViewFactory(server)
    view_manager.register_factory(html)
    return html


def _quiet(make: Callable[..., AbstractView]) -> Callable[..., AbstractView]:
    """Let views draw nothing while they are made: they would draw some seventy times before anybody sees them."""
    return partial(make, scheduled_render_strategy=NoScheduleRendering())


class _SliceFactory(RemoteSliceViewFactory):
    def __init__(self, server: Any, **options: Any) -> None:
        super().__init__(server, **options)
        self._view_ctor = _quiet(self._view_ctor)

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        return view.view_type == ViewKind.SLICE_VIEW

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> Any:
        made = super()._create_view(view, scene, app_logic)
        made.slicer_view.render_window().SetMultiSamples(0)  # flat pictures: eight samples cost time and show nothing
        return made


class _ThreeDFactory(RemoteThreeDViewFactory):
    def __init__(self, server: Any, **options: Any) -> None:
        super().__init__(server, **options)
        self._view_ctor = _quiet(self._view_ctor)

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        return view.view_type == ViewKind.THREE_D_VIEW

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> Any:
        made = super()._create_view(view, scene, app_logic)
        made.slicer_view.render_window().SetMultiSamples(0)
        return made


class HtmlViewFactory(IViewFactory):
    """Plot and table views, which the page draws itself: a panel says with ``fill`` what is in them."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._server = server
        self._builders: dict[str, Callable[[], None]] = {}

    def fill(self, tag: str, build: Callable[[], None]) -> None:
        """Write a view with ``build``, called inside its template when the view is made; again, now, if it is."""
        self._builders[tag] = build
        if self.has_view(tag):
            self._views[tag] = self._template(tag)

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        """Say that plot and table views are made here."""
        return view.view_type in (ViewKind.PLOT_VIEW, ViewKind.TABLE_VIEW)

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> Any:
        return self._template(view.singleton_tag)

    def _template(self, tag: str) -> ViewLayout:
        with ViewLayout(self._server, template_name=tag) as template:
            if tag in self._builders:
                self._builders[tag]()
        return template

    def _get_slicer_view(self, view: Any) -> None:
        return None
