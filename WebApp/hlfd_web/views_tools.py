"""What the toolbar and the keys do with the views: windows of gray, mouse modes, cross-hair, volume rendering."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import slicer
from trame_slicer.views import SliceView

from hlfd_web.views_layout import LAYOUTS, SLICES, THREE_D

if TYPE_CHECKING:
    from hlfd_web.app import Context

WINDOWS: dict[str, tuple[str, float, float]] = {
    "soft": ("Soft tissue", 400.0, 40.0),
    "kidney": ("Kidney", 300.0, 100.0),
    "liver": ("Liver", 160.0, 80.0),
    "lung": ("Lung", 1500.0, -600.0),
    "bone": ("Bone", 1800.0, 400.0),
}
"""Name -> title, window and level in HU."""
MODES = {"look": "Scroll, move, zoom", "cross": "Move the cross-hair", "window": "Window and level"}
VOLUME_PRESET = "CT-AAA"
_ZOOM = 0.2
_VOLUME_FPS = 8


class ViewTools:
    """Keeps ``view_window``, ``view_mouse``, ``view_crosshair`` and ``view_volume`` in step with the scene."""

    def __init__(self, context: Context) -> None:
        self._context, self._state = context, context.state
        self._views, self._scene = context.views, context.scene
        self._display: tuple[Any, int] | None = None
        self._crosshair = context.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        self._drags = [_CrosshairDrag(self, tag) for tag in SLICES.values()]
        self._state.update(
            {
                "view_window": "soft",
                "view_gray": "",
                "view_mouse": "look",
                "view_crosshair": True,
                "view_volume": False,
                "view_windows": [{"name": name, "title": value[0]} for name, value in WINDOWS.items()],
                "view_layouts": [{"name": name, "title": value[1]} for name, value in LAYOUTS.items()],
                "view_notice": "",
            }
        )
        self._state.change("view_mouse")(self._on_mouse)
        self._state.change("view_crosshair")(self._on_crosshair)
        self._state.change("view_volume")(self._on_volume)
        context.on_change.connect(self._on_shown)
        for name in ("step", "zoom", "key"):
            context.server.trigger(f"hlfd_{name}")(getattr(self, name))
        self._on_crosshair(True)

    def window(self, name: str) -> None:
        """Show the volume in one of ``WINDOWS``."""
        node = self._context.volume_node
        if node is not None and name in WINDOWS:
            _title, window, level = WINDOWS[name]
            node.GetDisplayNode().AutoWindowLevelOff()
            node.GetDisplayNode().SetWindowLevel(window, level)
            self._state.view_window = name

    def step(self, tag: str, count: float) -> None:
        """Move a slice view on by a number of slices."""
        view = self._slice(tag)
        if view is not None:
            low, high = view.get_slice_range()
            value = view.get_slice_value() + int(count) * view.get_slice_step()
            view.set_slice_value(min(max(value, low), high))

    def zoom(self, tag: str, factor: float) -> None:
        """Show a view larger by a factor, at most five times at once."""
        view = self._views.view(tag)
        if view is not None and math.isfinite(factor):
            view.zoom(1.0 - 1.0 / min(max(float(factor), 0.2), 5.0))
            view.schedule_render()

    def magnify(self, tag: str) -> None:
        """Show one view alone, or all four again."""
        names = {**{tag: name for name, tag in SLICES.items()}, THREE_D: "3d"}
        self._views.show_layout("quad" if self._views.layout != "quad" else names.get(tag, "quad"), fit=False)

    def go_to_crosshair(self, position: tuple[float, float, float]) -> None:
        """Put the cross-hair at a RAS position in mm and let the other views follow."""
        self._crosshair.SetCrosshairRAS(*position)
        jump = slicer.vtkMRMLSliceNode.OffsetJumpSlice
        slicer.vtkMRMLSliceNode.JumpAllSlices(self._scene, *position, jump, 0)

    def key(self, key: str, tag: str) -> None:
        """Do what a key means over the view ``tag``."""
        action = self._keys(tag).get(key)
        if action is not None:
            with self._context.notices.shown():
                action()

    def _keys(self, tag: str) -> dict[str, Callable[[], None]]:
        state, views = self._state, self._views
        windows = {str(n): lambda name=name: self.window(name) for n, name in enumerate(WINDOWS, 1)}
        return {
            "Home": lambda: self.step(tag, -1_000_000),
            "End": lambda: self.step(tag, 1_000_000),
            "+": lambda: self.zoom(tag, 1 / (1 - _ZOOM)),
            "=": lambda: self.zoom(tag, 1 / (1 - _ZOOM)),
            "-": lambda: self.zoom(tag, 1 - _ZOOM),
            "f": views.fit,
            "m": lambda: self.magnify(tag),
            "c": lambda: state.update({"view_crosshair": not state.view_crosshair}),
            "w": lambda: state.update({"view_mouse": "look" if state.view_mouse == "window" else "window"}),
            "v": lambda: state.update({"view_volume": not state.view_volume}),
            "s": self._toggle_segmentation,
            "d": lambda: state.update({"drawer_open": not state.drawer_open}),
            "t": lambda: state.update({"theme": "light" if state.theme == "dark" else "dark"}),
            "?": lambda: state.update({"help_open": True}),
            **windows,
        }

    def _slice(self, tag: str) -> SliceView | None:
        view = self._views.view(tag)
        return view if isinstance(view, SliceView) else None

    def _toggle_segmentation(self) -> None:
        node = self._context.segmentation_node
        if node is not None:
            display = node.GetDisplayNode()
            display.SetVisibility(not display.GetVisibility())

    def _on_mouse(self, view_mouse: str = "look", **_state: Any) -> None:
        modes = slicer.vtkMRMLInteractionNode
        mode = modes.AdjustWindowLevel if view_mouse == "window" else modes.ViewTransform
        self._context.slicer_app.app_logic.GetInteractionNode().SetCurrentInteractionMode(mode)
        for drag in self._drags:
            drag.active = view_mouse == "cross"

    def _on_crosshair(self, view_crosshair: bool = True, **_state: Any) -> None:
        node = slicer.vtkMRMLCrosshairNode
        self._crosshair.SetCrosshairMode(node.ShowBasic if view_crosshair else node.NoCrosshair)

    def _on_volume(self, view_volume: bool = False, **_state: Any) -> None:
        node, rendering = self._context.volume_node, self._context.slicer_app.volume_rendering
        if node is None:
            return
        first = view_volume and not rendering.has_vr_display_node(node)
        if view_volume:
            view_node = self._views.three_d_view().get_view_node()
            view_node.SetVolumeRenderingQuality(
                view_node.Adaptive
            )  # without a GPU a fine picture takes most of a second
            view_node.SetExpectedFPS(_VOLUME_FPS)
            rendering.create_display_node(node, VOLUME_PRESET)
        display = rendering.get_vr_display_node(node)
        if display is not None:
            display.SetVisibility(bool(view_volume))
        if first:
            self._views.fit_3d()

    def _on_shown(self) -> None:
        """Follow the gray window of the volume that is shown now, also when the mouse changes it."""
        if self._display is not None:
            display, tag = self._display
            display.RemoveObserver(tag)
            self._display = None
        node = self._context.volume_node
        if node is not None and node.GetDisplayNode() is not None:
            display = node.GetDisplayNode()
            self._display = display, display.AddObserver("ModifiedEvent", lambda *_: self._show_window(display))
            self._show_window(display)
            self._hide_other_volumes(node)
        else:
            self._state.update({"view_gray": "", "view_window": ""})

    def _hide_other_volumes(self, node: Any) -> None:
        rendering = self._context.slicer_app.volume_rendering
        for other in self._scene.GetNodesByClass("vtkMRMLScalarVolumeNode"):
            display = rendering.get_vr_display_node(other)
            if other is not node and display is not None:
                display.SetVisibility(False)
        self._on_volume(self._state.view_volume)

    def _show_window(self, display: Any) -> None:
        window, level = display.GetWindow(), display.GetLevel()
        names = [name for name, (_, *values) in WINDOWS.items() if values == [window, level]]
        self._state.update({"view_gray": f"W {window:.0f} L {level:.0f}", "view_window": names[0] if names else "own"})


class _CrosshairDrag:
    """Lets a press and a drag in a slice view move the cross-hair, while ``active``."""

    def __init__(self, tools: ViewTools, tag: str) -> None:
        self.active = False
        self._tools, self._pressed = tools, False
        view = tools._views.view(tag)
        assert isinstance(view, SliceView)  # the first layout makes all three
        self._view = view
        interactor = view.interactor()
        for event, slot in (
            ("LeftButtonPressEvent", self._on_press),
            ("MouseMoveEvent", self._on_move),
            ("LeftButtonReleaseEvent", self._on_release),
        ):
            interactor.AddObserver(event, slot, 10.0)

    def _on_press(self, caller: Any, _event: str) -> None:
        self._pressed = self.active
        self._on_move(caller, _event)

    def _on_release(self, _caller: Any, _event: str) -> None:
        self._pressed = False

    def _on_move(self, caller: Any, _event: str) -> None:
        if self._pressed and self.active:
            x, y = caller.GetEventPosition()
            point = self._view.get_view_node().GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))
            self._tools.go_to_crosshair((point[0], point[1], point[2]))
