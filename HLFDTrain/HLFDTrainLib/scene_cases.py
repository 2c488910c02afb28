"""Nodes of a scene -> what a case is made of: arrays, matrices, and what segments say about themselves.

Whole scans are large: what copies them is a generator that yields between pieces of some milliseconds, so that its
owner can give the application its turn.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from hlfd.config import look_up
from hlfd.errors import EmptyInputError, GeometryError, InputError
from hlfd.inference.roles import is_lesion
from hlfd.labels import Label
from hlfd.project import SegmentDescription
from HLFDSegmentLib.terminology import LABEL_TAG, segment_tag
from HLFDSegmentLib.volumes import matrix_to_array, node_affine

_PIECE_BYTES = 1 << 22
_MAPPING = "HLFD.Mapping"
_GRID_MM = 1e-2
_LATTICE = 1e-3  # voxels


@dataclass(frozen=True)
class Drawn:
    """The labels of a segmentation: uint8 (k, j, i) with values of the labels they were mapped to, and their place."""

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]
    """IJK->RAS in mm with all parent transforms applied."""


@dataclass(frozen=True)
class _Layer:
    """One label map of a segmentation, which may hold several segments."""

    array: NDArray
    affine: NDArray[np.float64]


def describe_segments(segmentation_node: slicer.vtkMRMLSegmentationNode) -> list[SegmentDescription]:
    """Return what the segments say about themselves, in their order; those of surfaces are not looked into."""
    segmentation = segmentation_node.GetSegmentation()
    known_voxels = segmentation.IsSourceRepresentationImageData()
    found = []
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        entry = segment_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
        empty = known_voxels and _is_empty(segment)
        name, tag = segment.GetName() or "", segment_tag(segment, LABEL_TAG)
        found.append(SegmentDescription(segmentation.GetNthSegmentID(index), name, entry, tag, empty))
    return found


def reference_volume(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the volume that a segmentation was drawn on, where the node knows it."""
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())


def drawn_on(
    segmentation_node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> tuple[bool, str]:
    """Return whether the segmentation is known to belong to the volume's grid, and what is odd about it, in words.

    Raises ``GeometryError`` where it was drawn on a volume with another grid.
    """
    reference = reference_volume(segmentation_node)
    if reference is volume_node:
        return True, ""
    if reference is None or reference.GetImageData() is None:
        return False, ""
    own, other = volume_node.GetName(), reference.GetName()
    if not _same_grid(reference, volume_node):
        raise GeometryError(
            f'The segmentation "{segmentation_node.GetName()}" was drawn on the volume "{other}", whose grid is not '
            f'that of "{own}".',
            f'Choose "{other}" as the image; to use "{own}", give the segmentation its geometry in the Segment Editor.',
        )
    return True, f'The segmentation was drawn on "{other}", which has the same grid as "{own}".'


def check_mapping(
    segments: Sequence[SegmentDescription], mapping: Mapping[str, str], names: Sequence[str], chosen: Collection[str]
) -> dict[str, str]:
    """Return the label name of each segment that is used.

    ``chosen`` holds the ids of the segments whose label the user saw: where it is empty, they are left out on purpose.
    Raises ``InputError`` for a segment that fits no label, for an empty one that is used, and where none is used.
    """
    used = {segment.id: mapping.get(segment.id, "") for segment in segments}
    for segment in segments:
        name = used[segment.id]
        if name:
            look_up(name, list(names), f'label for the segment "{segment.name}"')
        elif segment.id not in chosen and not segment.empty:
            raise InputError(
                f'The segment "{segment.name}" fits none of the labels {", ".join(names)}.',
                "Choose its label in the table, or leave it out there.",
            )
        if name and segment.empty:
            raise EmptyInputError(
                f'The segment "{segment.name}", chosen as {name}, is empty.', "Draw it, or leave it out in the table."
            )
    if not any(used.values()):
        raise EmptyInputError(
            "No segment is used: there is nothing to learn from.", "Choose labels for the segments in the table."
        )
    return {key: name for key, name in used.items() if name}


def remember_mapping(segmentation_node: slicer.vtkMRMLSegmentationNode, used: Mapping[str, str]) -> None:
    """Keep with the node what the user chose for its segments, those left out too; empty ones were not chosen for."""
    chosen = {one.id: used.get(one.id, "") for one in describe_segments(segmentation_node) if not one.empty}
    segmentation_node.SetAttribute(_MAPPING, json.dumps(chosen))


def remembered_mapping(segmentation_node: slicer.vtkMRMLSegmentationNode, names: Sequence[str]) -> dict[str, str]:
    """Return the label name, or nothing, that was chosen for a segment before, as far as the project has that label."""
    try:
        kept = json.loads(segmentation_node.GetAttribute(_MAPPING) or "{}").items()
    except (ValueError, AttributeError):  # written by something else
        return {}
    return {str(key): name for key, name in kept if name in ("", *names)}


def check_volume(volume_node: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Raise ``InputError`` unless the node holds one value per voxel, in a place that is known."""
    if volume_node is None or volume_node.GetImageData() is None:
        raise EmptyInputError("No image was chosen.", "Load a CT and choose it.")
    image, name = volume_node.GetImageData(), volume_node.GetName()
    if image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        raise EmptyInputError(f'The volume "{name}" holds no image.', "Load a CT and choose it.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f'The volume "{name}" is a colour image; a CT was expected.', "Choose the CT.")
    node_affine(volume_node, world=True)


def copy_volume(volume_node: slicer.vtkMRMLScalarVolumeNode) -> Generator[bool, None, NDArray]:
    """Copy the values (k, j, i) of a volume piece by piece; doubles become float32.

    Raises ``InputError`` where the image is changed or removed meanwhile.
    """
    image = volume_node.GetImageData()
    begun = image.GetMTime()
    shape = tuple(reversed(image.GetDimensions()))
    kind = vtk_to_numpy(image.GetPointData().GetScalars()).dtype
    values = np.empty(shape, np.float32 if kind == np.float64 else kind)
    for piece in _pieces(shape, kind.itemsize):
        if volume_node.GetImageData() is not image or image.GetMTime() != begun:
            raise InputError(f'The volume "{volume_node.GetName()}" was changed meanwhile.', "Start again.")
        values[piece] = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)[piece]
        yield True
    return values


def draw_labels(
    segmentation_node: slicer.vtkMRMLSegmentationNode, used: Mapping[str, str], labels: Sequence[Label]
) -> Generator[bool, None, Drawn]:
    """Join the segments in ``used`` (id to label name) to one label map, cut to what the segments cover, in pieces.

    Tumors and cysts lie over organs, else the later segment counts. Raises ``InputError`` for segments that are no
    label maps and ``GeometryError`` for a transform that is not linear.
    """
    layers, values = _layers(segmentation_node, used, {label.name: label.value for label in labels})
    yield True
    lesions = {label.value for label in labels if is_lesion(label.name)}
    first = layers[0]
    offsets = [_offset(first, layer) for layer in layers]
    low = np.min(offsets, axis=0)
    high = np.max([offset + layer.array.shape for offset, layer in zip(offsets, layers)], axis=0)
    joined = np.zeros(tuple(high - low), np.uint8)
    for lesion in (False, True):
        for layer, offset, meaning in zip(layers, offsets, values):
            shown = {own: value for own, value in meaning.items() if (value in lesions) is lesion}
            begin = offset - low
            target = joined[tuple(slice(a, a + n) for a, n in zip(begin, layer.array.shape))]
            for piece in _pieces(layer.array.shape, layer.array.itemsize) if shown else ():
                for own, value in shown.items():
                    np.copyto(target[piece], np.uint8(value), where=layer.array[piece] == own)
                yield True
    affine = first.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low[::-1]
    return Drawn(joined, affine)


def _pieces(shape: Sequence[int], item_bytes: int) -> list[slice]:
    """Return slices of the first axis of about ``_PIECE_BYTES`` each."""
    step = max(1, int(_PIECE_BYTES // max(1, shape[1] * shape[2] * item_bytes)))
    return [slice(begin, min(begin + step, shape[0])) for begin in range(0, shape[0], step)]


def _same_grid(one: slicer.vtkMRMLScalarVolumeNode, other: slicer.vtkMRMLScalarVolumeNode) -> bool:
    size = one.GetImageData().GetDimensions()
    if other.GetImageData() is None or size != other.GetImageData().GetDimensions():
        return False
    corner = np.array([[0, 0, 0, 1.0], [*(n - 1 for n in size), 1.0], [size[0] - 1, 0, 0, 1.0]]).T
    difference = (node_affine(one, world=True) - node_affine(other, world=True)) @ corner
    return bool(np.abs(difference).max() <= _GRID_MM)


def _binary_name() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _is_empty(segment: slicer.vtkSegment) -> bool:
    array = _array_of(segment.GetRepresentation(_binary_name()))
    if array is None:
        return True
    own = segment.GetLabelValue()
    return not any((array[piece] == own).any() for piece in _pieces(array.shape, array.itemsize))


def _array_of(image: slicer.vtkOrientedImageData | None) -> NDArray | None:
    """Return the voxels (k, j, i) of a label map, None where it has none; a view on its memory."""
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return None
    return vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions())))


def _layers(
    node: slicer.vtkMRMLSegmentationNode, used: Mapping[str, str], value_of: Mapping[str, int]
) -> tuple[list[_Layer], list[dict[int, int]]]:
    """Return the label maps on one lattice, in world space, and for each the label value of its segments' values."""
    segmentation = node.GetSegmentation()
    if not segmentation.IsSourceRepresentationImageData():
        raise InputError(
            f'The segmentation "{node.GetName()}" is made of surfaces, not of label maps.',
            "Convert it to binary label maps in the Segmentations module.",
        )
    to_world = _to_world(node)
    images: dict[slicer.vtkOrientedImageData, dict[int, int]] = {}
    for segment_id, name in used.items():
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(_binary_name())
        images.setdefault(image, {})[int(segment.GetLabelValue())] = value_of[name]
    lattice = next(iter(images))
    layers = [_layer(_on_lattice(image, lattice), to_world) for image in images]
    return layers, list(images.values())


def _layer(image: slicer.vtkOrientedImageData, to_world: NDArray[np.float64]) -> _Layer:
    matrix, start = vtk.vtkMatrix4x4(), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    start[:3, 3] = image.GetExtent()[::2]
    array = _array_of(image)
    if array is None:
        raise EmptyInputError("A segment holds no voxels.", "Draw it, or leave it out in the table.")
    return _Layer(array, to_world @ matrix_to_array(matrix) @ start)


def _on_lattice(
    image: slicer.vtkOrientedImageData, lattice: slicer.vtkOrientedImageData
) -> slicer.vtkOrientedImageData:
    """Return the label map on the lattice of another, resampled to the nearest voxel where it has its own."""
    resample = slicer.vtkOrientedImageDataResample
    if image is lattice or resample.DoGeometriesMatchIgnoreOrigin(image, lattice):
        own, other, between = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(own)
        lattice.GetWorldToImageMatrix(other)
        vtk.vtkMatrix4x4.Multiply4x4(other, own, between)
        shift = matrix_to_array(between)[:3, 3]
        if np.abs(shift - np.rint(shift)).max() <= _LATTICE:
            return image
    moved = slicer.vtkOrientedImageData()
    if not resample.ResampleOrientedImageToReferenceOrientedImage(image, lattice, moved, False, True):
        raise GeometryError("The segments lie on grids that cannot be joined.", "Give them one geometry first.")
    return moved


def _offset(first: _Layer, layer: _Layer) -> NDArray[np.int64]:
    """Return where the array of a layer begins, in voxels (k, j, i) from the begin of the first."""
    index = np.linalg.inv(first.affine) @ layer.affine[:, 3]
    return np.rint(index[:3][::-1]).astype(np.int64)


def _to_world(node: slicer.vtkMRMLSegmentationNode) -> NDArray[np.float64]:
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(
            f'The segmentation "{node.GetName()}" is under a non-linear transform, "{parent.GetName()}".',
            "Harden the transform (Transforms module), or remove it, and start again.",
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_to_array(matrix)
