"""Volumes and stored cases -> nodes of a scene, in pieces of some milliseconds: the application stays usable."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

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
        affine = np.array(answer["affine"], np.float64)
        volume_node = yield from volume_into_scene(scene, arrays["volume"], affine, info.caption)
        made.append(volume_node)
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


def volume_into_scene(
    scene: slicer.vtkMRMLScene, values: NDArray, affine: NDArray[np.float64], name: str
) -> Generator[bool, None, slicer.vtkMRMLScalarVolumeNode]:
    """Add a volume of HU (k, j, i) with its IJK->RAS matrix, in pieces; a stop before its end leaves no node."""
    image = yield from _image_of(values)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(array_to_matrix(affine))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(_WINDOW, _LEVEL)
    node.SetAndObserveImageData(image)  # last: a display node that chooses its window takes a third of a second for it
    return node


def _image_of(values: NDArray) -> Generator[bool, None, vtk.vtkImageData]:
    """Copy the values (k, j, i) into a new image, piece by piece."""
    image = vtk.vtkImageData()
    image.SetDimensions(*(int(n) for n in reversed(values.shape)))
    image.AllocateScalars(get_vtk_array_type(values.dtype), 1)
    target = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(values.shape)
    step = max(1, _PIECE_BYTES // max(1, values[0].nbytes))
    for begin in range(0, len(values), step):
        target[begin : begin + step] = values[begin : begin + step]
        yield True
    return image
