"""The layout of the feature viewer: a slice view per network side by side, numbers below, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import slicer
from numpy.typing import NDArray

VIEW_GROUP = 4729
ORIENTATIONS = ("Axial", "Coronal", "Sagittal")
PLOT_VIEW, TABLE_VIEW = "HLFDFeaturePlot", "HLFDFeatureTable"
_VIEWS = {
    "teacher": ("HLFDTeacher", "T", "#c86432"),
    "student": ("HLFDStudent", "S", "#3278c8"),
    "undistilled": ("HLFDUndistilled", "U", "#787878"),
    "base": ("HLFDBase", "B", "#8a6bb0"),
}
_LAYOUT = 472_910  # and those after it, one per set of networks
_LAYOUTS = range(_LAYOUT, _LAYOUT + 2 ** len(_VIEWS))
_CROSSHAIR = "default"


def layout_xml(roles: Sequence[str]) -> str:
    """Return the description of the layout for the networks that there are."""
    slices = "".join(_slice_xml(*_VIEWS[role]) for role in roles)
    plot, table = (
        f"<item><view class={quoteattr(kind)} singletontag={quoteattr(tag)}>"
        f'<property name="viewlabel" action="default">{label}</property></view></item>'
        for kind, tag, label in (("vtkMRMLPlotViewNode", PLOT_VIEW, "P"), ("vtkMRMLTableViewNode", TABLE_VIEW, "N"))
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="650"><layout type="horizontal">{slices}</layout></item>'
        f'<item splitSize="350"><layout type="horizontal" split="true">{plot}{table}</layout></item>'
        "</layout>"
    )


def _layout_number(roles: Sequence[str]) -> int:
    """Return a number that no other set of networks has: Slicer keeps the description of each."""
    return _LAYOUT + sum(1 << n for n, role in enumerate(_VIEWS) if role in roles)


def _slice_xml(tag: str, label: str, color: str) -> str:
    values = {"orientation": "Axial", "viewlabel": label, "viewcolor": color, "viewgroup": VIEW_GROUP}
    properties = "".join(
        f'<property name="{name}" action="default">{value}</property>' for name, value in values.items()
    )
    return f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(tag)}>{properties}</view></item>'


class FeatureLayout:
    """Shows the layout in ``scene`` and restores the one before it. Without a layout node, as in a program without
    a window, the views are made in the scene all the same."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._before: int | None = None
        self._roles: tuple[str, ...] = ()
        self._crosshair: tuple[Any, int] | None = None
        self._position: tuple[float, ...] = ()

    @property
    def entered(self) -> bool:
        """Whether the views are those of the viewer."""
        return bool(self._roles)

    def enter(self, roles: Sequence[str]) -> None:
        """Show a view for each role."""
        self._roles = tuple(roles)
        layout = self._layout_node()
        if layout is not None:
            number, xml = _layout_number(self._roles), layout_xml(self._roles)
            current = layout.GetViewArrangement()
            if current not in _LAYOUTS:
                self._before = current
            if layout.IsLayoutDescription(number):
                layout.SetLayoutDescription(number, xml)
            else:
                layout.AddLayoutDescription(number, xml)
            layout.SetViewArrangement(number)
        for role in self._roles:
            self.slice_node(role).SetViewGroup(VIEW_GROUP)
            composite = self.composite_node(role)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)

    def leave(self) -> None:
        """Restore the layout that the user had; nothing where another one was chosen meanwhile."""
        self.stop_following()
        layout = self._layout_node()
        if layout is not None and self._before is not None and layout.GetViewArrangement() in _LAYOUTS:
            layout.SetViewArrangement(self._before)
        self._before, self._roles = None, ()

    def slice_node(self, role: str) -> slicer.vtkMRMLSliceNode:
        """Return the slice node of a network's view."""
        tag, label, _ = _VIEWS[role]
        node = self._scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if node is None:
            node = self._scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the orientations of this scene
            node.UnRegister(None)
            node.SetName(tag)
            node.SetLayoutName(tag)
            node.SetLayoutLabel(label)
            node.SetSingletonTag(tag)
            node = self._scene.AddNode(node)
            node.SetOrientation("Axial")
        return node

    def composite_node(self, role: str) -> slicer.vtkMRMLSliceCompositeNode:
        """Return the node that says which volumes a network's view shows."""
        tag = _VIEWS[role][0]
        for index in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            node = self._scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
            if node.GetLayoutName() == tag:
                return node
        node = slicer.vtkMRMLSliceCompositeNode()
        node.SetName(tag)
        node.SetLayoutName(tag)
        node.SetSingletonTag(tag)
        return self._scene.AddNode(node)

    def orient(self, orientation: str) -> None:
        """Turn all views to Axial, Coronal or Sagittal."""
        for role in self._roles:
            self.slice_node(role).SetOrientation(orientation)

    def position(self) -> NDArray[np.float64]:
        """Return the RAS position in mm that the first view looks at."""
        matrix = self.slice_node(self._roles[0]).GetSliceToRAS()
        return np.array([matrix.GetElement(row, 3) for row in range(3)])

    def look_at(self, position: NDArray[np.float64], extent: NDArray[np.float64] | None = None) -> None:
        """Centre the views on a RAS position in mm, and fit a box of ``extent`` (R, A, S) in mm into them."""
        for role in self._roles:
            node = self.slice_node(role)
            if extent is not None:
                self._fit(node, extent)
            node.JumpSliceByCentering(*[float(value) for value in position])

    def _fit(self, node: slicer.vtkMRMLSliceNode, extent: NDArray[np.float64]) -> None:
        matrix = node.GetSliceToRAS()
        right, up = (np.abs([matrix.GetElement(row, column) for row in range(3)]) @ extent for column in range(2))
        width, height, _ = node.GetDimensions()
        pixel = max(right / max(width, 1), up / max(height, 1))
        node.SetFieldOfView(pixel * max(width, 1), pixel * max(height, 1), node.GetFieldOfView()[2])
        node.SetXYZOrigin(0.0, 0.0, 0.0)
        node.UpdateMatrices()

    def follow_crosshair(self, on_move: Callable[[tuple[float, float, float]], None]) -> None:
        """Let the views go where the cross-hair is put, also from outside them; ``on_move`` hears its RAS position."""
        self.stop_following()
        node = self._crosshair_node()
        self._position = tuple(node.GetCrosshairRAS())

        def moved(caller: Any, event: str) -> None:
            position = tuple(node.GetCrosshairRAS())
            if position != self._position:
                self._position = position
                jump = slicer.vtkMRMLSliceNode.OffsetJumpSlice
                slicer.vtkMRMLSliceNode.JumpAllSlices(self._scene, *position, jump, VIEW_GROUP)
                on_move(position)

        self._crosshair = node, node.AddObserver("ModifiedEvent", moved)

    def crosshair(self) -> tuple[float, float, float]:
        """Return where the cross-hair is, RAS in mm."""
        x, y, z = self._crosshair_node().GetCrosshairRAS()
        return x, y, z

    def _crosshair_node(self) -> slicer.vtkMRMLCrosshairNode:
        node = self._scene.GetSingletonNode(_CROSSHAIR, "vtkMRMLCrosshairNode")
        if node is None:
            node = slicer.vtkMRMLCrosshairNode()
            node.SetCrosshairName(_CROSSHAIR)
            node.SetSingletonTag(_CROSSHAIR)
            node = self._scene.AddNode(node)
        return node

    def stop_following(self) -> None:
        """Leave the views where they are."""
        if self._crosshair is not None:
            node, tag = self._crosshair
            node.RemoveObserver(tag)
            self._crosshair = None

    def _layout_node(self) -> slicer.vtkMRMLLayoutNode | None:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
