"""Scalar volume nodes of a MRML scene <-> the engine's ``Volume``: arrays, geometry, parent transforms."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from hlfd.errors import EmptyInputError, GeometryError, InputError
from hlfd.volume import Volume


def matrix_to_array(matrix: vtk.vtkMatrix4x4) -> NDArray[np.float64]:
    """Return a VTK matrix as a 4x4 float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: NDArray) -> vtk.vtkMatrix4x4:
    """Return a 4x4 array as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    for (row, column), value in np.ndenumerate(np.asarray(array, dtype=np.float64)):
        matrix.SetElement(row, column, float(value))
    return matrix


def node_affine(volume_node: slicer.vtkMRMLVolumeNode, world: bool = False) -> NDArray[np.float64]:
    """Return the 4x4 IJK->RAS matrix of a volume node in mm.

    Without ``world`` it is the node's own matrix, which does not contain its parent transform; with ``world`` the
    parent transform is applied, giving the place where the views show the volume. Raises ``GeometryError`` when
    the parent transform is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    parent = _linear_parent(volume_node)
    if not world or parent is None:
        return matrix_to_array(matrix)
    to_world = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(to_world)
    return matrix_to_array(to_world) @ matrix_to_array(matrix)


def volume_from_node(volume_node: slicer.vtkMRMLScalarVolumeNode, copy: bool = True, world: bool = False) -> Volume:
    """Return the CT in a scalar volume node as a ``Volume`` (k, j, i) in HU.

    int16 and float32 are kept; other integers become int16 when their values fit, else float32, as do doubles.
    ``copy=False`` returns a view on the node's memory where the type allows it: it dies with the node's image and
    must not be handed to another thread. ``world`` is as in ``node_affine``.
    Raises ``EmptyInputError`` without image data, ``InputError`` for colour images and NaN, ``GeometryError`` for
    a geometry that the engine refuses or a parent transform that is not linear.
    """
    name = volume_node.GetName() or "unnamed"
    image = volume_node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        raise EmptyInputError(f'The volume "{name}" holds no image.', "Load a CT and choose it as input.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f'The volume "{name}" has {components} values per voxel; a CT has one.', "Choose the CT as input."
        )
    array = hounsfield_type(slicer.util.arrayFromVolume(volume_node))
    if copy and np.shares_memory(array, slicer.util.arrayFromVolume(volume_node)):
        array = array.copy()
    return Volume(array, node_affine(volume_node, world), name)


def volume_to_node(
    scene: slicer.vtkMRMLScene,
    volume: Volume,
    name: str = "",
    window_level: tuple[float, float] = (400.0, 40.0),
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the volume to the scene as a new scalar volume node, shown with ``window_level`` in HU, and return it."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name or volume.name or "CT")
    node.SetIJKToRASMatrix(array_to_matrix(volume.affine))
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(*window_level)
    # last: a display node that chooses its window from a whole scan takes a third of a second for it
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
    return node


def hounsfield_type(array: NDArray) -> NDArray:
    """Return the array as int16 or float32, unchanged where it already is; integers outside int16 become float32."""
    if array.dtype in (np.dtype(np.int16), np.dtype(np.float32)):
        return array
    if array.dtype.kind not in "iu":
        return array.astype(np.float32)
    limits = np.iinfo(np.int16)
    fits = np.can_cast(array.dtype, np.int16) or (array.min() >= limits.min and array.max() <= limits.max)
    return array.astype(np.int16 if fits else np.float32)


def _linear_parent(node: slicer.vtkMRMLTransformableNode) -> slicer.vtkMRMLTransformNode | None:
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise GeometryError(
            f'The volume "{node.GetName()}" is under a non-linear transform, "{parent.GetName()}".',
            "Harden the transform on the volume (Transforms module), or remove it, and start again.",
        )
    return parent
