"""What a panel changes in the views: where they look, surfaces, opacity."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

_CROSSHAIR = "default"


def jump_to(scene: slicer.vtkMRMLScene, position: Sequence[float]) -> None:
    """Centre all slice views on a RAS position in mm, and put the cross-hair there."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *position, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = scene.GetSingletonNode(_CROSSHAIR, "vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*position)


def show_surfaces(segmentation_node: slicer.vtkMRMLSegmentationNode | None, shown: bool) -> None:
    """Show or hide the segmentation in 3-D views."""
    display = _display(segmentation_node)
    if display is not None:
        display.SetVisibility3D(shown)


def set_opacity(segmentation_node: slicer.vtkMRMLSegmentationNode | None, opacity: float) -> None:
    """Set the opacity, 0 to 1, of the whole segmentation in all views."""
    display = _display(segmentation_node)
    if display is not None:
        display.SetOpacity(opacity)


def _display(segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLSegmentationDisplayNode | None:
    if segmentation_node is None:
        return None
    if segmentation_node.GetDisplayNode() is None:
        segmentation_node.CreateDefaultDisplayNodes()
    return segmentation_node.GetDisplayNode()
