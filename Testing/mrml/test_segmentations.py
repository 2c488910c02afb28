"""Label maps become segmentation nodes that Slicer, its files and a later run understand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hlfd.errors import GeometryError, InputError
from hlfd.io import read_label_map, write_label_map
from hlfd.labels import KIDNEY_LABELS, Label
from hlfd.volume import LabelMap, Volume

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
vtk = pytest.importorskip("vtk")
segmentations = pytest.importorskip("HLFDSegmentLib.segmentations")
volumes = pytest.importorskip("HLFDSegmentLib.volumes")


def names(node):
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(index).GetName() for index in range(segmentation.GetNumberOfSegments())]


def segment_named(node, name):
    segmentation = node.GetSegmentation()
    return segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))


def add_under_transform(scene, volume, matrix=None):
    node = volumes.volume_to_node(scene, volume)
    if matrix is not None:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(volumes.array_to_matrix(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def shift_and_turn():
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    matrix[:3, 3] = [100.0, 20.0, -30.0]
    return matrix


def node_ids(scene):
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def test_the_labels_come_back_on_the_same_voxels(scene, volume, label_map):
    volume_node = volumes.volume_to_node(scene, volume)
    node = segmentations.segmentation_from_label_map(scene, label_map, volume_node)
    back = segmentations.label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
    assert np.array_equal(back.array, label_map.array)
    assert back.same_grid(label_map)
    assert back.labels == tuple(label for label in KIDNEY_LABELS if label.name != "kidney cyst")


def test_the_segments_lie_where_the_volume_shows_it(scene, volume, label_map):
    volume_node = volumes.volume_to_node(scene, volume)
    node = segmentations.segmentation_from_label_map(scene, label_map, volume_node)
    bounds = np.zeros(6)
    node.GetSegmentation().GetBounds(bounds)  # of the box of all labels: i 2..17, j 4..10, k 2..8
    corners = np.array([[i, j, k, 1] for i in (1.5, 17.5) for j in (3.5, 10.5) for k in (1.5, 8.5)]).T
    points = (volume.affine @ corners)[:3]
    assert np.allclose(bounds[::2], points.min(axis=1), atol=1e-3)
    assert np.allclose(bounds[1::2], points.max(axis=1), atol=1e-3)


def test_absent_kidneys_are_shown_empty_and_absent_lesions_not_at_all(scene, straight_volume):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    empty = LabelMap(np.zeros(straight_volume.shape, np.uint8), straight_volume.affine, KIDNEY_LABELS)
    node = segmentations.segmentation_from_label_map(scene, empty, volume_node)
    assert names(node) == ["left kidney", "right kidney"]
    assert not segmentations.label_map_from_segmentation(node, volume_node).array.any()


def test_the_segmentation_belongs_to_its_volume(scene, straight_volume, straight_label_map):
    volume_node = add_under_transform(scene, straight_volume, shift_and_turn())
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume_node
    assert node.GetParentTransformNode() is volume_node.GetParentTransformNode()
    assert node.GetName() == "abdomen segmentation"
    assert node.GetDisplayNode() is not None


def test_the_segmentation_sits_beside_its_volume_in_the_hierarchy(scene, straight_volume, straight_label_map):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    volume_node = volumes.volume_to_node(scene, straight_volume)
    hierarchy.CreateItem(study, volume_node)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_labels_in_the_world_frame_fit_the_transformed_volume(scene, straight_volume, straight_label_map):
    volume_node = add_under_transform(scene, straight_volume, shift_and_turn())
    world = LabelMap(straight_label_map.array, shift_and_turn() @ straight_label_map.affine, KIDNEY_LABELS)
    node = segmentations.segmentation_from_label_map(scene, world, volume_node)
    back = segmentations.label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
    assert np.array_equal(back.array, straight_label_map.array)


def test_a_given_segmentation_under_another_transform_shows_the_same_place(scene, straight_volume, straight_label_map):
    volume_node = add_under_transform(scene, straight_volume, shift_and_turn())
    given = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node, given)
    bounds, own = np.zeros(6), np.zeros(6)
    given.GetRASBounds(bounds)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    node.GetRASBounds(own)
    assert given.GetParentTransformNode() is None
    assert np.allclose(bounds, own, atol=1e-3)
    back = segmentations.label_map_from_segmentation(given, volume_node, KIDNEY_LABELS)
    assert np.array_equal(back.array, straight_label_map.array)


def test_a_second_run_keeps_what_the_user_did(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    drawn = slicer.vtkSegment()
    drawn.SetName("drawn by hand")
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(segmentation.GetSegment("right_kidney").GetRepresentation("Binary labelmap"))
    drawn.AddRepresentation("Binary labelmap", image)
    drawn.SetLabelValue(4)
    segmentation.AddSegment(drawn, "hand")
    segmentation.GetSegment("left_kidney").SetName("Niere links")
    segmentation.GetSegment("left_kidney").SetColor(0.0, 0.0, 1.0)
    display.SetSegmentVisibility("left_kidney", False)

    moved = np.roll(straight_label_map.array, 1, axis=2)
    moved[moved == 2] = 3
    segmentations.segmentation_from_label_map(
        scene, LabelMap(moved, straight_label_map.affine, KIDNEY_LABELS), volume_node, node
    )

    assert names(node) == ["Niere links", "right kidney", "drawn by hand", "kidney cyst"]
    assert segmentation.GetSegment("left_kidney").GetColor() == (0.0, 0.0, 1.0)
    assert not display.GetSegmentVisibility("left_kidney")
    mine = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "hand")
    assert np.count_nonzero(mine == 4) == np.count_nonzero(straight_label_map.array == 4)
    segmentation.RemoveSegment("hand")
    back = segmentations.label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
    assert np.array_equal(back.array, moved)


def test_a_users_segment_in_a_shared_layer_survives_the_replacement(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    shared = node.GetSegmentation().GetSegment("right_kidney").GetRepresentation("Binary labelmap")
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "right_kidney")[0, 0, 0] = 9
    users = slicer.vtkSegment()
    users.SetName("user's")
    users.SetLabelValue(9)
    users.AddRepresentation("Binary labelmap", shared)
    node.GetSegmentation().AddSegment(users, "user")
    segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node, node)
    kept = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "user")
    assert np.count_nonzero(kept == node.GetSegmentation().GetSegment("user").GetLabelValue()) == 1


def test_another_grid_is_refused_and_leaves_nothing(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    before = node_ids(scene)
    shifted = straight_label_map.affine.copy()
    shifted[2, 3] += 3.0
    with pytest.raises(GeometryError, match="does not lie on the grid"):
        segmentations.segmentation_from_label_map(
            scene, LabelMap(straight_label_map.array, shifted, KIDNEY_LABELS), volume_node
        )
    assert node_ids(scene) == before


def test_a_segmentation_made_of_surfaces_is_refused(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "imported")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="made of surfaces"):
        segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node, node)


def test_the_closed_surface_encloses_the_volume_of_its_segment(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    segmentations.add_closed_surfaces(node, smoothing=0.0)
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("right_kidney", surface)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    voxels = np.count_nonzero(straight_label_map.array == 4)
    assert mass.GetVolume() / 1000 == pytest.approx(voxels * straight_label_map.voxel_ml, rel=0.35)
    assert node.GetDisplayNode().GetPreferredDisplayRepresentationName3D() == "Closed surface"


def test_surfaces_follow_a_second_run(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    segmentations.add_closed_surfaces(node)
    smaller = np.where(np.arange(20) < 15, straight_label_map.array, 0).astype(np.uint8)
    changed = LabelMap(smaller, straight_label_map.affine, KIDNEY_LABELS)
    segmentations.segmentation_from_label_map(scene, changed, volume_node, node)
    segmentations.add_closed_surfaces(node)
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("right_kidney", surface)
    assert surface.GetBounds()[1] < (straight_label_map.affine @ [15.5, 0, 0, 1])[0]


def test_without_a_segmentation_logic_surfaces_fail_with_a_reason():
    script = """
import numpy as np, slicer
from hlfd.errors import OutputError
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume
from HLFDSegmentLib.segmentations import add_closed_surfaces, segmentation_from_label_map
from HLFDSegmentLib.volumes import volume_to_node

scene = slicer.vtkMRMLScene()
node = volume_to_node(scene, Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)))
labels = LabelMap(np.full((4, 4, 4), 2, np.uint8), np.eye(4), KIDNEY_LABELS[1:3])
try:
    add_closed_surfaces(segmentation_from_label_map(scene, labels, node))
except OutputError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert 'could not make the surfaces of "CT segmentation"' in done.stdout


def test_segments_of_others_get_free_values_and_keep_name_and_colour(scene, straight_volume, straight_label_map):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)
    node.GetSegmentation().AddEmptySegment("x", "stone", [1.0, 1.0, 1.0])
    back = segmentations.label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
    stone = next(label for label in back.labels if label.name == "stone")
    assert stone.value == 5
    assert stone.color == (255, 255, 255)


def test_a_segmentation_on_a_finer_grid_is_resampled(scene, straight_volume, straight_label_map):
    fine = straight_label_map.affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] += straight_label_map.affine[:3, :3] @ [-0.25, -0.25, -0.25]
    array = np.kron(straight_label_map.array, np.ones((2, 2, 2), np.uint8))
    fine_map = LabelMap(array, fine, KIDNEY_LABELS)
    fine_node = volumes.volume_to_node(scene, Volume(array.astype(np.int16), fine))
    node = segmentations.segmentation_from_label_map(scene, fine_map, fine_node)
    coarse_node = volumes.volume_to_node(scene, straight_volume)
    back = segmentations.label_map_from_segmentation(node, coarse_node, KIDNEY_LABELS)
    differing = np.count_nonzero(back.array != straight_label_map.array)
    assert differing <= 0.35 * np.count_nonzero(straight_label_map.array)
    assert set(np.unique(back.array)) == {0, 1, 2, 4}


def test_slicer_saves_what_the_engine_reads(scene, volume, label_map, tmp_path):
    volume_node = volumes.volume_to_node(scene, volume)
    node = segmentations.segmentation_from_label_map(scene, label_map, volume_node)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    storage.SetCropToMinimumExtent(False)
    assert storage.WriteData(node)
    back = read_label_map(tmp_path / "saved.seg.nrrd")
    assert [label.name for label in back.labels] == names(node)
    assert [label.terminology for label in back.labels] == [KIDNEY_LABELS[n].terminology for n in (0, 1, 3)]
    for name in names(node):
        assert back.mask(name).sum() == label_map.mask(name).sum()


def test_slicer_reads_what_the_engine_writes(scene, volume, label_map, tmp_path):
    write_label_map(label_map, tmp_path / "written.seg.nrrd")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "written.seg.nrrd"))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(node)
    volume_node = volumes.volume_to_node(scene, volume)
    back = segmentations.label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
    assert np.array_equal(back.array, label_map.array)
    assert {label.name: label.color for label in back.labels} == {label.name: label.color for label in KIDNEY_LABELS}
    assert segment_named(node, "kidney tumor").GetTerminology() == KIDNEY_LABELS[1].terminology.to_slicer()


def test_more_segments_than_label_values_are_refused(scene, straight_volume):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "many")
    for number in range(256):
        node.GetSegmentation().AddEmptySegment(f"s{number}")
    with pytest.raises(InputError, match="256 segments"):
        segmentations.label_map_from_segmentation(node, volume_node)


def test_more_labels_and_segments_than_values_are_refused(scene, straight_volume):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "few")
    for number in range(3):
        node.GetSegmentation().AddEmptySegment(f"s{number}")
    table = [Label(value, f"label {value}", (1, 2, 3)) for value in range(1, 254)]
    with pytest.raises(InputError, match="do not fit"):
        segmentations.label_map_from_segmentation(node, volume_node, table)
