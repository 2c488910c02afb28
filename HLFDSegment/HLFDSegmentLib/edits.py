"""Whether a user has changed segments since a run made them, also after the scene was saved and loaded again."""

from __future__ import annotations

import json
import zlib

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from hlfd.preprocess.components import index_box
from HLFDSegmentLib.terminology import LABEL_TAG, segment_tag

_ATTRIBUTE = "HLFD.Fingerprints"


def remember_segments(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Note in the node what its segments made by a run hold now."""
    segmentation_node.SetAttribute(_ATTRIBUTE, json.dumps(_fingerprints(segmentation_node)))


def edited_segments(segmentation_node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """Return the names of segments that the next run would replace although their voxels were changed since."""
    known = json.loads(segmentation_node.GetAttribute(_ATTRIBUTE) or "{}")
    now = _fingerprints(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    return [segmentation.GetSegment(key).GetName() for key, value in now.items() if known.get(key) != value]


def _fingerprints(segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, str]:
    segmentation = segmentation_node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    made = [key for key in ids if segment_tag(segmentation.GetSegment(key), LABEL_TAG)]
    return {key: _fingerprint(segmentation.GetSegment(key)) for key in made}


def _fingerprint(segment: slicer.vtkSegment) -> str:
    """Return the voxels of a segment as a number, whatever the extent of the image that holds them."""
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    image = segment.GetRepresentation(binary)
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return "empty"
    i, _, j, _, k, _ = image.GetExtent()
    shape = tuple(reversed(image.GetDimensions()))
    mask = vtk_to_numpy(scalars).reshape(shape) == segment.GetLabelValue()
    low, high = index_box(mask)
    if low == high:
        return "empty"
    inside = mask[tuple(slice(begin, end) for begin, end in zip(low, high))]
    where = [k + low[0], j + low[1], i + low[2], *inside.shape]
    return f"{','.join(str(int(value)) for value in where)}:{zlib.crc32(np.packbits(inside).tobytes()):08x}"
