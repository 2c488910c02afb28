"""Volume nodes and the engine's volumes hold the same voxels at the same places."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.errors import EmptyInputError, GeometryError, InputError
from hlfd.volume import Volume

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
vtk = pytest.importorskip("vtk")
volumes = pytest.importorskip("HLFDSegmentLib.volumes")


def put_under(scene, node, matrix):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(volumes.array_to_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def quarter_turn():
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    matrix[:3, 3] = [5.0, -7.0, 11.0]
    return matrix


def test_a_volume_comes_back_from_its_node_unchanged(scene, volume):
    back = volumes.volume_from_node(volumes.volume_to_node(scene, volume))
    assert back.array.dtype == np.int16
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(back.affine, volume.affine, atol=1e-9)
    assert back.name == "abdomen"


def test_a_voxel_lies_where_slicer_shows_it(scene, volume):
    node = volumes.volume_to_node(scene, volume)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    assert np.allclose(matrix.MultiplyPoint((3, 5, 7, 1)), volume.affine @ [3, 5, 7, 1])
    assert node.GetImageData().GetScalarComponentAsDouble(3, 5, 7, 0) == volume.array[7, 5, 3]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.uint8, np.int16),
        (np.int16, np.int16),
        (np.uint16, np.int16),
        (np.int32, np.int16),
        (np.float32, np.float32),
        (np.float64, np.float32),
    ],
)
def test_every_scalar_type_becomes_hounsfield_units(scene, stored, expected):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    values = np.arange(24, dtype=stored).reshape(2, 3, 4)
    slicer.util.updateVolumeFromArray(node, values)
    back = volumes.volume_from_node(node)
    assert back.array.dtype == expected
    assert np.array_equal(back.array, values)


def test_integers_beyond_int16_are_not_wrapped_around(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.util.updateVolumeFromArray(node, np.full((2, 2, 2), 60000, np.uint16))
    back = volumes.volume_from_node(node)
    assert back.array.dtype == np.float32
    assert back.array.max() == 60000


def test_a_copy_is_independent_of_the_node_and_a_view_is_not(scene, straight_volume):
    node = volumes.volume_to_node(scene, straight_volume)
    copied, viewed = volumes.volume_from_node(node), volumes.volume_from_node(node, copy=False)
    slicer.util.arrayFromVolume(node)[0, 0, 0] = 777
    assert copied.array[0, 0, 0] != 777
    assert viewed.array[0, 0, 0] == 777


def test_a_linear_parent_transform_counts_only_in_the_world_frame(scene, volume):
    node = volumes.volume_to_node(scene, volume)
    put_under(scene, node, quarter_turn())
    assert np.allclose(volumes.volume_from_node(node).affine, volume.affine)
    assert np.allclose(volumes.volume_from_node(node, world=True).affine, quarter_turn() @ volume.affine)


def test_a_non_linear_parent_transform_is_refused_with_a_remedy(scene, straight_volume):
    node = volumes.volume_to_node(scene, straight_volume)
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)):
        points.InsertNextPoint(corner)
        moved.InsertNextPoint(np.array(corner) * (1.0 if sum(corner) < 12 else 1.3))
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(GeometryError, match='non-linear transform, "bent"') as caught:
        volumes.volume_from_node(node)
    assert "Harden" in caught.value.remedy


def test_a_node_without_image_is_refused(scene):
    with pytest.raises(EmptyInputError, match="holds no image"):
        volumes.volume_from_node(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))


def test_a_colour_image_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4, 3), np.uint8))
    with pytest.raises(InputError, match="3 values per voxel"):
        volumes.volume_from_node(node)


def test_not_a_number_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.util.updateVolumeFromArray(node, np.full((2, 2, 2), np.nan, np.float32))
    with pytest.raises(InputError, match="NaN"):
        volumes.volume_from_node(node)


def test_a_new_node_is_shown_with_the_abdominal_window(scene):
    node = volumes.volume_to_node(scene, Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)), window_level=(350, 50))
    assert (node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) == (350, 50)
    assert node.GetDisplayNode().GetColorNode().GetName() == "Grey"
    assert node.GetName() == "CT"
