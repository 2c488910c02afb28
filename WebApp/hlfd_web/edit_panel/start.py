"""An empty segmentation, to draw on a CT that no model segmented."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from hlfd.labels import Label
from hlfd.volume import LabelMap
from HLFDSegmentLib.segmentations import segmentation_from_label_map
from HLFDSegmentLib.volumes import node_affine


def empty_segmentation(
    scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLScalarVolumeNode, labels: Sequence[Label]
) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation on the grid of a volume with an empty segment for each label, and return it."""
    shape = slicer.util.arrayFromVolume(volume_node).shape
    blank = LabelMap(np.broadcast_to(np.uint8(0), shape), node_affine(volume_node), tuple(labels))
    name = f"{volume_node.GetName()} drawing"
    return segmentation_from_label_map(scene, blank, volume_node, name=name, always=[label.name for label in labels])
