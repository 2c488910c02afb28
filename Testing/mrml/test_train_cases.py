"""Cases are collected from nodes of a scene, without ever keeping the application waiting."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from hlfd.errors import ConfigError, EmptyInputError, GeometryError, InputError, UsageError
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.jobs import Jobs
from hlfd.labels import KIDNEY_LABELS, KIDNEY_TUMOR
from hlfd.volume import LabelMap, Volume

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
vtk = pytest.importorskip("vtk")
case_logic = pytest.importorskip("HLFDTrainLib.case_logic")
segmentations = pytest.importorskip("HLFDSegmentLib.segmentations")
volumes = pytest.importorskip("HLFDSegmentLib.volumes")
WAIT_S = 120
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def jobs():
    found = Jobs()
    yield found
    found.close()


class Heard:
    """What the signals of a logic said."""

    def __init__(self, logic):
        self.ends, self.added, self.progress, self.warnings, self.changes = [], [], [], [], 0
        logic.finished.connect(lambda task, result: self.ends.append((task, result)))
        logic.failed.connect(lambda error: self.ends.append(("failed", error)))
        logic.case_added.connect(self.added.append)
        logic.progress.connect(lambda done, total, left: self.progress.append(done / total))
        logic.warned.connect(self.warnings.append)

    @property
    def error(self):
        task, error = self.ends[-1]
        assert task == "failed", self.ends
        return error


@pytest.fixture
def logic(scene, jobs, tmp_path):
    made = case_logic.CaseLogic(scene, jobs)
    made.heard = Heard(made)
    made.create(tmp_path / "project", "kidney", "Ours")
    assert made.wait(WAIT_S)
    assert made.project is not None, made.heard.ends
    yield made
    made.close()


@pytest.fixture
def nodes(scene, straight_volume, straight_label_map):
    """A CT and the segmentation that HLFD Segment makes of it."""
    volume_node = volumes.volume_to_node(scene, straight_volume)
    return volume_node, segmentations.segmentation_from_label_map(scene, straight_label_map, volume_node)


def run(logic, start, *arguments, **options):
    start(*arguments, **options)
    assert logic.wait(WAIT_S)
    return logic.heard.ends[-1][1]


def rotation(degrees=30.0, shift=(5.0, -7.0, 11.0)):
    transform = vtk.vtkTransform()
    transform.Translate(*shift)
    transform.RotateZ(degrees)
    return transform.GetMatrix()


def segment_named(segmentation_node, name):
    segmentation = segmentation_node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return next(key for key in ids if segmentation.GetSegment(key).GetName() == name)


def test_a_result_of_hlfd_segment_becomes_a_case(logic, nodes, straight_volume, straight_label_map):
    info = run(logic, logic.add, *nodes, title="First")
    assert logic.heard.added == [info]
    assert logic.cases == (info,)
    assert logic.heard.progress[-1] == 1
    assert np.array_equal(read_label_map(info.label).array, straight_label_map.array)
    image = read_volume(info.image)
    assert np.array_equal(image.array, straight_volume.array)
    assert image.same_grid(straight_volume)
    assert (info.title, info.source) == ("First", {"kind": "scene"})
    assert [logic.case_of(node) for node in nodes] == [info, info]


def test_a_corrected_segmentation_updates_its_case(logic, nodes, straight_label_map):
    first = run(logic, logic.add, *nodes)
    volume_node, segmentation_node = nodes
    corrected = straight_label_map.array.copy()
    corrected[10:12, 0:3, 0:3] = KIDNEY_TUMOR.value  # outside of what the segments covered before
    segmentations.segmentation_from_label_map(
        logic._scene, LabelMap(corrected, straight_label_map.affine, KIDNEY_LABELS), volume_node, segmentation_node
    )
    second = run(logic, logic.update, logic.case_of(segmentation_node).id, segmentation_node)
    assert np.array_equal(read_label_map(second.label).array, corrected)
    assert second.volumes_ml["kidney tumor"] > first.volumes_ml["kidney tumor"]
    assert logic.cases == (second,)


def test_what_was_chosen_for_a_segment_is_remembered(logic, nodes):
    volume_node, segmentation_node = nodes
    segmentation = segmentation_node.GetSegmentation()
    ids = {name: segment_named(segmentation_node, name) for name in ("left kidney", "right kidney", "kidney tumor")}
    for name, new in (("left kidney", "Organ"), ("right kidney", "Rest")):
        segment = segmentation.GetSegment(ids[name])
        segment.SetName(new)
        segment.RemoveTag("HLFD.Label")
        segment.RemoveTag(slicer.vtkSegment.GetTerminologyEntryTagName())
    chosen = {ids["left kidney"]: "left kidney", ids["right kidney"]: "", ids["kidney tumor"]: "kidney tumor"}
    info = run(logic, logic.add, volume_node, segmentation_node, chosen)
    assert logic.suggest_mapping(segmentation_node) == chosen
    assert run(logic, logic.update, info.id, segmentation_node).volumes_ml == pytest.approx(info.volumes_ml, rel=1e-4)


def test_a_data_set_is_looked_at_and_imported(logic, tmp_path, straight_volume, straight_label_map):
    folder = tmp_path / "kits" / "case_00001"
    folder.mkdir(parents=True)
    write_volume(straight_volume, folder / "imaging.nii.gz")
    write_label_map(straight_label_map, folder / "segmentation.nii.gz")
    (tmp_path / "kits" / "case_00002").mkdir()
    reports = run(logic, logic.check_folder, tmp_path / "kits")
    assert [(report["id"], report["ok"]) for report in reports] == [("case_00001", True), ("case_00002", False)]
    result = run(logic, logic.import_folder, tmp_path / "kits", {1: "left kidney", 2: "kidney tumor", 4: ""})
    assert [case.id for case in result["added"]] == ["case-0001"]
    assert set(logic.cases[0].volumes_ml) == {"left kidney", "kidney tumor"}
    assert list(result["refused"]) == ["case_00002"]


def test_cts_to_label_next_are_suggested(logic, tmp_path):
    sample = PROJECT / "HLFDSegment" / "Resources" / "HLFDSegment" / "Samples" / "sample_ct.nii.gz"
    ct = read_volume(sample)
    (tmp_path / "cts").mkdir()
    write_volume(ct, tmp_path / "cts" / "one.nii")
    (tmp_path / "cts" / "two.nii").write_bytes(b"no image")
    rows = run(logic, logic.suggest, tmp_path / "cts")
    assert [row["name"] for row in rows] == ["one", "two"]
    assert 0 < rows[0]["score"] < 1
    assert rows[1]["note"]


def test_a_case_keeps_the_place_that_the_views_show(logic, scene, nodes, straight_volume):
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetMatrixTransformToParent(rotation())
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    info = run(logic, logic.add, *nodes)
    expected = volumes.matrix_to_array(rotation()) @ straight_volume.affine
    assert np.allclose(read_volume(info.image).affine, expected, atol=1e-4)
    assert info.volumes_ml["right kidney"] > 0


def test_a_case_returns_into_the_scene_for_editing(logic, nodes, scene, straight_volume, straight_label_map):
    info = run(logic, logic.add, *nodes)
    scene.RemoveNode(nodes[0])
    scene.RemoveNode(nodes[1])
    volume_node, segmentation_node = run(logic, logic.load_case, info.id)
    assert np.array_equal(slicer.util.arrayFromVolume(volume_node), straight_volume.array)
    labels = segmentations.label_map_from_segmentation(segmentation_node, volume_node, KIDNEY_LABELS)
    assert np.array_equal(labels.array, straight_label_map.array)
    assert logic.case_of(segmentation_node) == info
    again = run(logic, logic.update, info.id, segmentation_node)
    assert again.volumes_ml == pytest.approx(info.volumes_ml, rel=1e-4)


def test_own_segments_in_layers_of_their_own_join_with_lesions_on_top(logic, scene, straight_volume):
    volume_node = volumes.volume_to_node(scene, straight_volume)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    boxes = {"Tumor": np.s_[4:6, 5:8, 3:6], "Kidney L": np.s_[2:9, 4:10, 2:7], "RightKidney": np.s_[3:8, 4:11, 13:18]}
    for name, box in boxes.items():
        array = np.zeros(straight_volume.shape, np.uint8)
        array[box] = 1
        one = LabelMap(array, straight_volume.affine, (KIDNEY_LABELS[0],))
        extra = segmentations.segmentation_from_label_map(scene, one, volume_node, always=())
        segment = extra.GetSegmentation().GetNthSegment(0)
        segment.SetName(name)
        segment.RemoveTag("HLFD.Label")
        segment.RemoveTag(slicer.vtkSegment.GetTerminologyEntryTagName())
        node.GetSegmentation().AddSegment(segment, name)
    assert logic.suggest_mapping(node) == {
        "Tumor": "kidney tumor",
        "Kidney L": "left kidney",
        "RightKidney": "right kidney",
    }
    info = run(logic, logic.add, volume_node, node)
    expected = np.zeros(straight_volume.shape, np.uint8)
    expected[boxes["Kidney L"]], expected[boxes["RightKidney"]], expected[boxes["Tumor"]] = 1, 4, 2
    assert np.array_equal(read_label_map(info.label).array, expected)


def test_a_segmentation_of_another_patient_is_refused(logic, scene, nodes, straight_volume):
    moved = straight_volume.affine.copy()
    moved[:3, 3] += 37.3
    other = volumes.volume_to_node(scene, Volume(straight_volume.array, moved), "other patient")
    with pytest.raises(GeometryError, match='was drawn on the volume "abdomen"'):
        logic.add(other, nodes[1])


@pytest.mark.parametrize(("shift", "reason"), [(0.35, "another grid"), (400.0, "outside of the image")])
def test_labels_that_know_no_volume_are_refused_by_their_grid(logic, scene, nodes, straight_volume, shift, reason):
    moved = straight_volume.affine.copy()
    moved[0, 3] += shift
    other = volumes.volume_to_node(scene, Volume(straight_volume.array, moved), "other patient")
    nodes[1].RemoveNodeReferenceIDs(nodes[1].GetReferenceImageGeometryReferenceRole())
    run(logic, logic.add, other, nodes[1])
    assert isinstance(logic.heard.error, GeometryError)
    assert reason in logic.heard.error.message
    assert logic.cases == ()


def test_an_image_that_is_a_case_already_is_refused(logic, nodes):
    run(logic, logic.add, *nodes, title="First")
    run(logic, logic.add, *nodes)
    assert logic.heard.error.code == "duplicate_case"
    assert '"First" (case-0001)' in logic.heard.error.message


def test_segments_that_are_empty_or_unknown_are_refused(logic, nodes):
    volume_node, segmentation_node = nodes
    segmentation_node.GetSegmentation().AddEmptySegment("nothing", "left kidney rest")
    tumor = segment_named(segmentation_node, "kidney tumor")
    with pytest.raises(EmptyInputError, match='"left kidney rest", chosen as kidney cyst, is empty'):
        logic.add(volume_node, segmentation_node, {"nothing": "kidney cyst", tumor: "kidney tumor"})
    with pytest.raises(EmptyInputError, match="nothing to learn from"):
        logic.add(volume_node, segmentation_node, {tumor: ""})
    with pytest.raises(ConfigError, match='Did you mean "kidney tumor"'):
        logic.add(volume_node, segmentation_node, {tumor: "kidney tumour"})
    segment = segmentation_node.GetSegmentation().GetSegment(tumor)
    segment.SetName("Fluid")
    segment.RemoveTag("HLFD.Label")
    segment.RemoveTag(slicer.vtkSegment.GetTerminologyEntryTagName())
    with pytest.raises(InputError, match='"Fluid" fits none of the labels'):
        logic.add(volume_node, segmentation_node)
    assert logic.task == ""


def test_a_segmentation_of_surfaces_is_refused(logic, scene, nodes):
    surface = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "shell")
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    surface.GetSegmentation().SetSourceRepresentationName(name)
    segment = slicer.vtkSegment()
    segment.SetName("Tumor")
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    segment.AddRepresentation(name, sphere.GetOutput())
    surface.GetSegmentation().AddSegment(segment, "shell")
    run(logic, logic.add, nodes[0], surface)
    assert "made of surfaces" in logic.heard.error.message


def test_what_is_no_ct_is_refused(logic, scene, straight_volume, straight_label_map):
    mask = volumes.volume_to_node(scene, Volume((straight_volume.array > 0).astype(np.int16), straight_volume.affine))
    segmentation = segmentations.segmentation_from_label_map(scene, straight_label_map, mask)
    run(logic, logic.add, mask, segmentation)
    assert logic.heard.error.code == "not_ct"


def test_roles_and_removal_arrive_by_poll(logic, nodes):
    info = run(logic, logic.add, *nodes)
    assert run(logic, logic.set_role, info.id, "test").role == "test"
    assert logic.cases[0].role == "test"
    where = run(logic, logic.remove, info.id)
    assert where.is_dir()
    assert logic.cases == ()
    assert logic.case_of(nodes[0]) is None


def test_one_task_at_a_time(logic, nodes):
    logic.add(*nodes)
    with pytest.raises(UsageError, match="under way: add"):
        logic.reload()
    logic.cancel()
    assert logic.wait(WAIT_S)
    assert logic.heard.error.code == "cancelled"
    assert run(logic, logic.add, *nodes).id == "case-0001"


def test_dicom_identifiers_are_copied_only_when_asked(logic, nodes):
    nodes[0].SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    info = run(logic, logic.add, *nodes, identifiers=True)
    assert info.source["dicom_instances"] == "1.2.3 1.2.4"
    run(logic, logic.remove, info.id)
    assert "dicom_instances" not in run(logic, logic.add, *nodes).source


@pytest.mark.slow
def test_the_application_is_never_kept_waiting(logic, scene):
    shape = (200, 512, 512)
    array = np.full(shape, -1000, np.int16)
    array[:, 100:400, 60:450] = 40
    labels = np.zeros(shape, np.uint8)
    labels[60:150, 200:300, 100:180] = 1
    labels[80:100, 220:250, 120:150] = 2
    affine = np.diag([0.8, 0.8, 1.5, 1.0])
    volume_node = volumes.volume_to_node(scene, Volume(array, affine), "large")
    label_map = LabelMap(labels, affine, KIDNEY_LABELS)
    segmentation_node = segmentations.segmentation_from_label_map(scene, label_map, volume_node)
    slowest, polls, clock = 0.0, 0, time.monotonic()
    begin = time.thread_time()
    logic.add(volume_node, segmentation_node)
    started = time.thread_time() - begin
    while logic.task:
        begin = time.thread_time()
        logic.poll()
        slowest, polls = max(slowest, time.thread_time() - begin), polls + 1
        time.sleep(0.005)
    seconds = time.monotonic() - clock
    info = logic.heard.ends[-1][1]
    assert info.shape == shape, info
    if os.name == "posix" and os.getloadavg()[0] < 1:  # says nothing about a machine that is busy
        assert seconds < 6  # 3, and as much for the start of the worker
    assert started < 0.1
    assert slowest < 0.1
    assert polls > 3
