"""How a view of the scene is made and streamed to the page: slice and 3-D views, and views that are plain HTML.

Tuned for software rendering: no multisampling, pictures of moderate quality while something moves and of full quality
when it is still, and not more pixels per view than below, however fine the screen is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from trame.widgets import html
from trame_slicer.rca_view import RemoteSliceViewFactory, RemoteThreeDViewFactory
from trame_slicer.rca_view.rca_view_factory import RemoteViewFactory
from trame_slicer.views import AbstractView, IViewFactory, SliceView, ViewLayout, ViewLayoutDefinition
from trame_slicer.views.render_scheduler import NoScheduleRendering

from hlfd_web.views_layout import ViewKind
from HLFDSegmentLib.signals import Signal

Builder = Callable[[Any, str, AbstractView], None]
SLICE_PIXELS, THREE_D_PIXELS = 900_000, 400_000
_FPS, _IDLE_FPS = 30.0, 15.0
_MOVING_QUALITY, _STILL_QUALITY = 60, 92
_EVENTS_S = 0.016
_LEFT_OUT = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
)


def register_factories(view_manager: Any, server: Any, slice_ui: Builder, three_d_ui: Builder) -> HtmlViewFactory:
    """Let ``view_manager`` make views for the page; the builders write what lies over each picture."""
    common = {
        "target_fps": _FPS,
        "blur_fps": _IDLE_FPS,
        "interactive_quality": _MOVING_QUALITY,
        "rca_event_throttle_s": _EVENTS_S,
    }
    view_manager.register_factory(_SliceFactory(server, populate_view_ui_f=slice_ui, **common))
    view_manager.register_factory(_ThreeDFactory(server, populate_view_ui_f=three_d_ui, **common))
    made = HtmlViewFactory(server)
    view_manager.register_factory(made)
    return made


class LeanSliceView(SliceView):
    """A slice view without the displays of models, glyphs and transforms, of which this application has none: the
    first of them draws every slice view anew whenever any other is scrolled. ``resized()`` tells another size."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.resized = Signal()
        super().__init__(*arguments, **options)

    def _update_slice_size(self, *_event: Any) -> None:
        super()._update_slice_size()
        self.resized.emit()

    def _initialize_displayable_manager_group(self, factory_type: Any, app_logic: Any, manager_types: list) -> None:
        # the picture first: what is shown of segmentations, volumes and cursors lies over it
        picture = self._render_manager.image_actor
        picture.VisibilityOff()
        self.first_renderer().AddViewProp(picture)
        kept = [kind for kind in manager_types if kind.__name__ not in _LEFT_OUT]
        super()._initialize_displayable_manager_group(factory_type, app_logic, kept)


class _Tuned(RemoteViewFactory):
    """What both kinds of pictures have in common."""

    kind: ViewKind
    pixels: int

    def __init__(self, server: Any, **options: Any) -> None:
        super().__init__(server, **options)
        # views draw nothing while they are made: they would draw some seventy times before anybody sees them
        kind = LeanSliceView if self.kind is ViewKind.SLICE_VIEW else self._view_ctor
        self._view_ctor = partial(kind, scheduled_render_strategy=NoScheduleRendering())

    def can_create_view(self, view: ViewLayoutDefinition) -> bool:
        return view.view_type == self.kind

    def _create_view(self, view: ViewLayoutDefinition, scene: Any, app_logic: Any) -> Any:
        made = super()._create_view(view, scene, app_logic)
        made.slicer_view.render_window().SetMultiSamples(0)
        made.view_adapter.max_pixel_count = self.pixels
        made.view_adapter.update_quality(_MOVING_QUALITY, _STILL_QUALITY)
        return made

    def _create_vuetify_ui(self, view_id: str, slicer_view: AbstractView, *arguments: Any, **options: Any) -> None:
        is_slice = self.kind is ViewKind.SLICE_VIEW
        with html.Div(
            data_view=view_id,
            data_slice="yes" if is_slice else "no",
            data_testid=f"view-{view_id}",
            role="group",
            aria_label="Slice view" if is_slice else "3-D view",
            style="width:100%;height:100%;position:relative",
        ):
            super()._create_vuetify_ui(view_id, slicer_view, *arguments, **options)


class _SliceFactory(_Tuned, RemoteSliceViewFactory):
    kind, pixels = ViewKind.SLICE_VIEW, SLICE_PIXELS


class _ThreeDFactory(_Tuned, RemoteThreeDViewFactory):
    kind, pixels = ViewKind.THREE_D_VIEW, THREE_D_PIXELS


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
