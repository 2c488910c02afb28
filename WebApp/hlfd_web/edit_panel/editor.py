"""The segment editor of trame-slicer as the panel uses it: one segmentation, two tools, undo."""

from __future__ import annotations

from typing import Any

import slicer
from trame_slicer.core import SegmentationEditor
from trame_slicer.segmentation import BrushDiameterMode, SegmentationEffectNoTool
from undo_stack import UndoStack

from hlfd_web.edit_panel.brush import Erase, Paint

TOOLS = {"look": SegmentationEffectNoTool, "paint": Paint, "erase": Erase}
UNDO_STEPS = 20
_BRUSHES = ("paint", "erase")


class Editor:
    """Edits one segmentation on its volume with the mouse or a pen; ``core`` is trame-slicer's editor."""

    def __init__(self, core: SegmentationEditor) -> None:
        self.core = core
        self.stack = UndoStack(undo_limit=UNDO_STEPS)
        core.set_undo_stack(self.stack)

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that is edited."""
        return self.core.active_segmentation_node

    @property
    def tool(self) -> str:
        """The tool in use, a key of ``TOOLS``."""
        name = self.core.get_active_effect_name()
        return next((key for key, kind in TOOLS.items() if kind.get_effect_name() == name), "look")

    @property
    def segment(self) -> str:
        """The id of the segment that is painted."""
        return self.core.get_active_segment_id()

    def attach(self, node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Edit another segmentation; undo forgets what was done to the one before."""
        if self.node is node and self.core.active_volume_node is volume:
            return
        display = node.GetDisplayNode()
        if display is not None:
            display.SetRemoveUnusedDisplayProperties(False)  # undo exchanges all segments: their looks must stay
        self.core.clear()  # first: what follows must not change the surfaces of the one before
        self.keep_surfaces(has_surfaces(node))
        self.core.set_active_segmentation(node, volume)

    def detach(self) -> None:
        """Edit nothing."""
        self.core.clear()

    def keep_surfaces(self, kept: bool) -> None:
        """Say whether the segmentation has surfaces now: without, it shows none until they are made again; with, each
        change would make them anew and hold up the page."""
        self.core.set_surface_representation_enabled(kept)

    def use(self, tool: str) -> None:
        """Take a tool; "look" gives the mouse back to the views."""
        if tool != "look":
            self.keep_surfaces(False)
        self.core.set_active_effect_type(TOOLS[tool])

    def choose(self, segment_id: str) -> None:
        """Paint another segment."""
        self.core.set_active_segment_id(segment_id)

    def show(self, segment_id: str, shown: bool) -> None:
        """Show or hide a segment."""
        self.core.set_segment_visibility(segment_id, shown)

    def undo(self) -> None:
        """Take the last change back."""
        self.keep_surfaces(False)
        if self.stack.can_undo():
            self.stack.undo()

    def redo(self) -> None:
        """Do again what was taken back."""
        self.keep_surfaces(False)
        if self.stack.can_redo():
            self.stack.redo()

    def set_brush(self, diameter_mm: float, sphere: bool) -> None:
        """Set the size of both brushes, and whether they reach into the slices beside."""
        for name in _BRUSHES:
            effect = self.core.get_effect(TOOLS[name])
            effect.set_brush_diameter(diameter_mm, BrushDiameterMode.Absolute)
            effect.set_use_sphere_brush(sphere)

    def brush_mm(self) -> float:
        """Return the diameter of the brush in use, which the wheel with Shift changes too."""
        effect = self.core.active_effect
        return float(effect.get_brush_diameter()) if self.tool in _BRUSHES else 0.0

    def set_mask(self, enabled: bool, low: float, high: float) -> None:
        """Let tools change only voxels whose HU lie between ``low`` and ``high``."""
        node: Any = self.core.editor_node
        node.SetSourceVolumeIntensityMaskRange(low, high)
        node.SetSourceVolumeIntensityMask(enabled)


def has_surfaces(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Return whether a segmentation has surfaces for 3-D views."""
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return bool(node.GetSegmentation().ContainsRepresentation(name))
