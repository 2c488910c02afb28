"""The label maps of a segmentation: which segments share one, its voxels and its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from HLFDSegmentLib.volumes import matrix_to_array


@dataclass(frozen=True)
class Layer:
    """One label map: voxels (k, j, i), a view on VTK's memory, IJK->RAS in the segmentation's frame, and the label
    value of each segment in it."""

    array: NDArray
    affine: NDArray[np.float64]
    values: dict[str, int]


def layers_of(node: slicer.vtkMRMLSegmentationNode) -> list[Layer]:
    """Return the label maps that hold voxels; segments without any are in none."""
    segmentation = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    images: dict[slicer.vtkOrientedImageData, dict[str, int]] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(name)
        scalars = image.GetPointData().GetScalars() if image is not None else None
        if scalars is not None and scalars.GetNumberOfTuples():
            images.setdefault(image, {})[segment_id] = int(segment.GetLabelValue())
    return [_layer(image, values) for image, values in images.items()]


def segment_volumes_ml(node: slicer.vtkMRMLSegmentationNode) -> dict[str, float]:
    """Return the volume of each segment in ml, 0 for those without voxels."""
    found = dict.fromkeys(node.GetSegmentation().GetSegmentIDs(), 0.0)
    for layer in layers_of(node):
        counts = np.bincount(layer.array.ravel().astype(np.uint8, copy=False), minlength=256)
        voxel_ml = abs(float(np.linalg.det(layer.affine[:3, :3]))) / 1000.0
        found.update({key: float(counts[value]) * voxel_ml for key, value in layer.values.items()})
    return found


def _layer(image: slicer.vtkOrientedImageData, values: dict[str, int]) -> Layer:
    matrix, start = vtk.vtkMatrix4x4(), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    start[:3, 3] = image.GetExtent()[::2]
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(tuple(reversed(image.GetDimensions())))
    return Layer(array, matrix_to_array(matrix) @ start, values)
