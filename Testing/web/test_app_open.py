"""Opening in the browser: files of the data root, DICOM, segmentations, uploads, stored results."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd.io import write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap, Volume

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def make_ct() -> Volume:
    array = np.full((12, 16, 20), -1000, np.int16)
    array[2:10, 3:13, 3:17] = 40
    return Volume(array, AFFINE, "block")


@pytest.fixture
def open_panel(panels):
    return panels["open"]


@pytest.fixture
def ct_name(data_root):
    write_volume(make_ct(), data_root.uploads / "block.nii.gz")
    return "uploads/block.nii.gz"


def write_slice(path, array, z, uid, description, instance):
    image = sitk.GetImageFromArray(array)
    image.SetOrigin([0.0, 0.0, z])
    image.SetSpacing([1.0, 1.0]) if image.GetDimension() == 2 else image.SetSpacing([1.0, 1.0, 3.0])
    tags = {
        "0008|0060": "CT", "0020|000e": uid, "0020|000d": "1.2.3", "0008|103e": description, "0020|0013": str(instance),
        "0020|0032": f"0\\0\\{z}", "0020|0037": "1\\0\\0\\0\\1\\0", "0028|1052": "0", "0028|1053": "1",
        "0008|0018": f"{uid}.{instance}", "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0020|0011": uid[-1],
    }  # fmt: skip
    for key, value in tags.items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_series(folder, uid, description, slices=4):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(slices):
        array = np.full((1, 16, 16), -1000 + 260 * index, np.int16)
        write_slice(folder / f"{uid}-{index}.dcm", array, 3.0 * index, uid, description, index + 1)


def test_a_file_of_the_data_root_is_opened_and_listed(open_panel, context, wait_until, ct_name):
    open_panel.open_path(ct_name)
    assert context.state.open_busy == "block.nii.gz"
    wait_until(lambda: context.volume_node is not None)
    (row,) = context.state.open_volumes
    assert (row["name"], row["shown"]) == ("block", True)
    assert row["facts"] == "20 \u00d7 16 \u00d7 12, 2 \u00d7 2 \u00d7 3 mm"
    assert context.state.open_busy == ""


def test_the_folders_and_images_of_the_data_root_are_listed(open_panel, context, ct_name, data_root):
    (data_root.uploads / "notes.txt").write_text("x")
    open_panel.go_into("uploads")
    assert [entry["name"] for entry in context.state.open_entries] == ["block.nii.gz"]


def test_what_lies_outside_or_nowhere_is_refused_in_words(open_panel, context, wait_until):
    for name in ("../secret.nii.gz", "/etc/passwd", "uploads/missing.nii.gz", "", "uploads\\x"):
        open_panel.open_path(name)
        wait_until(lambda: bool(context.state.notices))
        (notice,) = context.state.notices
        assert notice["kind"] == "error", name
        context.notices.close(notice["id"])
    assert context.volume_node is None


def test_a_damaged_file_is_told_without_the_servers_folders(open_panel, context, wait_until, data_root):
    (data_root.uploads / "broken.nii.gz").write_bytes(b"\x1f\x8bnonsense")
    open_panel.open_path("uploads/broken.nii.gz")
    wait_until(lambda: bool(context.state.notices))
    text = context.state.notices[0]["text"]
    assert "uploads/broken.nii.gz" in text
    assert str(data_root.folder) not in text


def test_of_several_series_the_user_chooses_one(open_panel, context, wait_until, data_root):
    write_series(data_root.uploads / "scan", "1.2.3.4", "arterial")
    write_series(data_root.uploads / "scan", "1.2.3.5", "venous")
    open_panel.open_path("uploads/scan")
    wait_until(lambda: bool(context.state.open_series))
    titles = [one["title"] for one in context.state.open_series]
    assert sorted(title.split(" (")[0] for title in titles) == ["arterial", "venous"]
    venous = next(one["uid"] for one in context.state.open_series if one["title"].startswith("venous"))
    open_panel.choose_series(venous)
    wait_until(lambda: context.volume_node is not None)
    assert context.volume_node.GetAttribute("HLFD.Series") == venous
    assert context.state.open_series == []


def test_a_segmentation_is_laid_over_its_ct(open_panel, context, wait_until, ct_name, data_root):
    labels = np.zeros((12, 16, 20), np.uint8)
    labels[3:8, 4:9, 4:9] = 2
    write_label_map(LabelMap(labels, AFFINE, KIDNEY_LABELS), data_root.results / "old.seg.nrrd")
    open_panel.open_path("results/old.seg.nrrd")
    assert "CT" in context.state.notices[0]["text"]
    open_panel.open_path(ct_name)
    wait_until(lambda: context.volume_node is not None)
    open_panel.open_path("results/old.seg.nrrd")
    wait_until(lambda: context.segmentation_node is not None)
    segmentation = context.segmentation_node.GetSegmentation()
    assert [segmentation.GetNthSegment(0).GetName()] == ["kidney tumor"]
    assert context.state.view_notice == "Demonstration, not for clinical use"


def test_a_segmentation_of_another_ct_is_refused(open_panel, context, wait_until, ct_name, data_root):
    write_label_map(LabelMap(np.ones((4, 4, 4), np.uint8), AFFINE, KIDNEY_LABELS), data_root.results / "o.seg.nrrd")
    open_panel.open_path(ct_name)
    wait_until(lambda: context.volume_node is not None)
    open_panel.open_path("results/o.seg.nrrd")
    wait_until(lambda: bool(context.state.notices))
    assert "does not lie on the grid" in context.state.notices[0]["text"]


def test_an_upload_that_arrived_is_opened(open_panel, context, wait_until, ct_name):
    with context.state:
        context.state.open_upload = {"state": "done", "name": "block.nii.gz", "path": ct_name}
    wait_until(lambda: context.volume_node is not None)
    assert context.state.open_upload == {}


def test_an_upload_that_failed_is_told_and_a_cancelled_one_is_not(open_panel, context):
    for message in ("Cancelled.", "The disk of the server is full."):
        with context.state:
            context.state.open_upload = {"state": "failed", "name": "x", "message": message}
    assert [notice["text"] for notice in context.state.notices] == ["The disk of the server is full."]


def test_a_ct_is_closed_with_its_segmentations_and_the_one_before_is_shown(open_panel, context, wait_until, ct_name):
    open_panel.open_path(ct_name)
    wait_until(lambda: len(context.state.open_volumes) == 1)
    first = context.volume_node
    open_panel.open_path(ct_name)
    wait_until(lambda: len(context.state.open_volumes) == 2)
    second = context.volume_node
    node = context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(second)
    context.show_segmentation(node)
    open_panel.close_volume(second.GetID())
    assert context.volume_node is first
    assert context.segmentation_node is None
    assert node.GetScene() is None
    open_panel.close_volume(first.GetID())
    assert (context.state.open_volumes, context.state.volume_name) == ([], "")


def test_only_one_ct_is_read_at_a_time(open_panel, context, wait_until, ct_name):
    open_panel.open_path(ct_name)
    open_panel.open_path(ct_name)
    assert "under way" in context.state.notices[0]["text"]
    wait_until(lambda: context.volume_node is not None)
