"""Surfaces that are made outside of Slicer are the ones that Slicer makes."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.errors import CancelledError
from hlfd.events import CancelToken
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
segmentations = pytest.importorskip("HLFDSegmentLib.segmentations")
from HLFDSegmentLib.label_arrays import labelled_part  # noqa: E402
from HLFDSegmentLib.surfaces import Surfaces, closed_surfaces  # noqa: E402
from HLFDSegmentLib.volumes import array_to_matrix, node_affine, volume_to_node  # noqa: E402

SURFACE = "Closed surface"


def make_labels():
    k, j, i = np.mgrid[0:18, 0:24, 0:30]
    array = np.zeros((18, 24, 30), np.uint8)
    array[((k - 8) / 6) ** 2 + ((j - 12) / 9) ** 2 + ((i - 9) / 7) ** 2 < 1] = 1
    array[((k - 8) / 3) ** 2 + ((j - 12) / 4) ** 2 + ((i - 9) / 3) ** 2 < 1] = 2
    array[4:12, 8:16, 24:30] = 4  # reaches the border of the image
    return array


def nodes_on(scene, affine):
    label_map = LabelMap(make_labels(), affine, KIDNEY_LABELS)
    return volume_to_node(scene, Volume(label_map.array.astype(np.int16), affine)), label_map


@pytest.fixture
def nodes(scene):
    return nodes_on(scene, np.diag([-0.7, 0.8, 2.5, 1.0]))


def surfaces_of(label_map):
    part = labelled_part(label_map)
    shift = np.eye(4)
    shift[:3, 3] = part.start[::-1]
    return part, Surfaces(label_map.affine, closed_surfaces(part.array, label_map.affine @ shift, sorted(part.values)))


def arrays_of(node, name):
    ids = {node.GetSegmentation().GetSegment(i).GetName(): i for i in node.GetSegmentation().GetSegmentIDs()}
    polydata = node.GetSegmentation().GetSegment(ids[name]).GetRepresentation(SURFACE)
    points = np.array([polydata.GetPoint(index) for index in range(polydata.GetNumberOfPoints())])
    normals = polydata.GetPointData().GetNormals()
    return points, np.array([normals.GetTuple(index) for index in range(len(points))]), polydata.GetNumberOfPolys()


def in_order(points, values):
    order = np.lexsort(np.round(points, 3).T)
    return points[order], values[order]


def test_points_normals_and_triangles_equal_those_of_slicer(scene, affine):
    volume_node, label_map = nodes_on(scene, affine)
    part, surfaces = surfaces_of(label_map)
    ours = segmentations.segmentation_from_label_map(scene, label_map, volume_node, part=part, surfaces=surfaces)
    theirs = segmentations.segmentation_from_label_map(scene, label_map, volume_node)
    segmentations.add_closed_surfaces(theirs)
    for name in ("left kidney", "kidney tumor", "right kidney"):
        our_points, our_normals, our_count = arrays_of(ours, name)
        their_points, their_normals, their_count = arrays_of(theirs, name)
        assert our_count == their_count > 100
        our_points, our_normals = in_order(our_points, our_normals)
        their_points, their_normals = in_order(their_points, their_normals)
        np.testing.assert_allclose(our_points, their_points, atol=2e-3)
        # a surface that comes from one filter twice may be turned inside out as a whole
        np.testing.assert_allclose(np.abs((our_normals * their_normals).sum(axis=1)), 1, atol=1e-2)


def test_all_segments_have_the_surface_and_slicer_makes_none_anew(scene, nodes):
    volume_node, label_map = nodes
    part, surfaces = surfaces_of(label_map)
    node = segmentations.segmentation_from_label_map(scene, label_map, volume_node, part=part, surfaces=surfaces)
    segmentation = node.GetSegmentation()
    assert segmentation.ContainsRepresentation(SURFACE)
    with_surface = [segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs()]
    assert sum(polydata is not None and polydata.GetNumberOfPoints() > 0 for polydata in with_surface) == 3
    assert node.GetDisplayNode().GetPreferredDisplayRepresentationName3D() == SURFACE


def test_a_second_result_in_the_same_node_brings_its_own_surfaces(scene, nodes):
    volume_node, label_map = nodes
    part, surfaces = surfaces_of(label_map)
    node = segmentations.segmentation_from_label_map(scene, label_map, volume_node, part=part, surfaces=surfaces)
    smaller = LabelMap(np.where(label_map.array == 2, 0, label_map.array), label_map.affine, KIDNEY_LABELS)
    part, surfaces = surfaces_of(smaller)
    segmentations.segmentation_from_label_map(scene, smaller, volume_node, node, part=part, surfaces=surfaces)
    points, _, _ = arrays_of(node, "left kidney")
    assert len(points) == len(surfaces.by_value[1].points)
    assert "kidney_tumor" not in node.GetSegmentation().GetSegmentIDs()


def test_surfaces_follow_a_transform_of_the_volume_that_came_meanwhile(scene, nodes):
    volume_node, label_map = nodes
    part, surfaces = surfaces_of(label_map)
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "elsewhere")
    output.CreateDefaultDisplayNodes()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = [10, 20, 30]
    transform.SetMatrixTransformToParent(array_to_matrix(matrix))
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    world = LabelMap(label_map.array, node_affine(volume_node, world=True), KIDNEY_LABELS)
    segmentations.segmentation_from_label_map(scene, world, volume_node, output, part=part, surfaces=surfaces)
    points, _, _ = arrays_of(output, "left kidney")
    np.testing.assert_allclose(points.min(0), np.add(surfaces.by_value[1].points.min(0), [10, 20, 30]), atol=1e-3)


def test_a_label_of_one_voxel_has_a_closed_surface():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 1] = 5
    surface = closed_surfaces(labels, np.eye(4), [5])[5]
    assert len(surface.triangles) == 8
    np.testing.assert_allclose(surface.points.mean(0), [1, 1, 1], atol=1e-5)


def test_a_value_that_does_not_occur_has_an_empty_surface():
    assert len(closed_surfaces(np.zeros((3, 3, 3), np.uint8), np.eye(4), [1])[1].points) == 0


def test_cancelling_stops_before_the_next_label():
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        closed_surfaces(make_labels(), np.eye(4), [1], cancel=cancel)
