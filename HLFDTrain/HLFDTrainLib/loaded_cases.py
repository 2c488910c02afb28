"""A stored case -> nodes of a scene, for editing in the Segment Editor."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from hlfd.labels import Label
from hlfd.project import CaseInfo
from hlfd.volume import LabelMap
from HLFDSegmentLib.label_arrays import Part
from HLFDSegmentLib.nodes import remove_nodes
from HLFDSegmentLib.segmentations import segmentation_from_label_map
from HLFDSegmentLib.volumes import array_to_matrix

Nodes = tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode]
_PIECE_BYTES = 1 << 22
_WINDOW, _LEVEL = 400.0, 40.0


def case_into_scene(
    scene: slicer.vtkMRMLScene,
    info: CaseInfo,
    table: Sequence[Label],
    answer: Mapping[str, Any],
    arrays: Mapping[str, NDArray],
) -> Generator[bool, None, Nodes]:
    """Add the volume and the segmentation of a case, in pieces; ``answer`` and ``arrays`` are of the job ``case_load``.

    A failure or a stop leaves neither node.
    """
    made: list[slicer.vtkMRMLNode] = []
    try:
        image = yield from _image_of(arrays["volume"])
        affine = np.array(answer["affine"], np.float64)
        volume_node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", info.caption)
        made.append(volume_node)
        volume_node.SetIJKToRASMatrix(array_to_matrix(affine))
        volume_node.SetAndObserveImageData(image)
        volume_node.CreateDefaultDisplayNodes()
        display = volume_node.GetDisplayNode()
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
        display.AutoWindowLevelOff()
        display.SetWindowLevel(_WINDOW, _LEVEL)
        yield True
        labels = np.array(arrays["labels"])
        k, j, i = (int(v) for v in answer["start"])
        part = Part(labels, (k, j, i), frozenset(int(value) for value in answer["values"]))
        blank = LabelMap(np.broadcast_to(np.uint8(0), arrays["volume"].shape), affine, tuple(table))
        name = f"{info.caption} segmentation"
        segmentation_node = segmentation_from_label_map(scene, blank, volume_node, name=name, always=(), part=part)
        return volume_node, segmentation_node
    except BaseException:  # also when the generator is closed
        remove_nodes(scene, *made)
        raise


def _image_of(values: NDArray[np.int16]) -> Generator[bool, None, vtk.vtkImageData]:
    """Copy the values (k, j, i) into a new image, piece by piece."""
    image = vtk.vtkImageData()
    image.SetDimensions(*(int(n) for n in reversed(values.shape)))
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(values.shape)
    step = max(1, _PIECE_BYTES // max(1, values[0].nbytes))
    for begin in range(0, len(values), step):
        target[begin : begin + step] = values[begin : begin + step]
        yield True
    return image
