"""Pairs that cannot be right are refused, with the reason; segments find their labels."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.errors import DuplicateCaseError, EmptyInputError, GeometryError, InputError, NotCtError
from hlfd.labels import KIDNEY_LABELS, KIDNEY_RIGHT, KIDNEY_TUMOR, LIVER_LABELS, Terminology
from hlfd.models.package import load_package
from hlfd.project import Project, SegmentDescription, match_segments
from hlfd.project.checks import check_pair, voxel_checksum
from hlfd.project.placing import onto_grid
from hlfd.project.thumbnail import SIZE, draw_thumbnail
from hlfd.volume import LabelMap, Volume


@pytest.fixture
def project(tmp_path, models_folder):
    return Project.create(tmp_path / "project", load_package(models_folder / "exact" / "1.0.0"))


def moved(image, offset_mm, kind=LabelMap):
    affine = image.affine.copy()
    affine[:3, 3] += offset_mm
    return kind(image.array, affine)


def test_a_pair_that_fits_passes(project, ct_volume, kidney_map):
    checked = check_pair(ct_volume, kidney_map, project)
    assert np.array_equal(checked.labels, kidney_map.array)
    assert set(checked.volumes_ml) == {label.name for label in KIDNEY_LABELS}


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (lambda labels: LabelMap(labels.array * 0, labels.affine), EmptyInputError, "background only"),
        (lambda labels: LabelMap(labels.array * 50, labels.affine), InputError, r"values \[50, 100, 150, 200\]"),
        (lambda labels: moved(labels, 0.6), GeometryError, "another grid"),
        (lambda labels: moved(labels, 500.0), GeometryError, "100% of the labels lie outside of the image"),
        (lambda labels: LabelMap(labels.array, labels.affine @ np.diag([0.9, 1, 1, 1])), GeometryError, "another grid"),
        (lambda labels: LabelMap(np.roll(labels.array, 4, 0), labels.affine), InputError, "lies in air"),
    ],
)
def test_labels_that_do_not_belong_to_the_image_are_refused(project, ct_volume, kidney_map, change, error, reason):
    image = Volume(ct_volume.array.copy(), ct_volume.affine)
    image.array[6:] = -1000
    with pytest.raises(error, match=reason):
        check_pair(image, change(kidney_map), project)


def test_an_image_that_is_no_ct_is_refused(project, ct_volume, kidney_map):
    scaled = Volume(((ct_volume.array + 1024) / 2000).astype(np.float32), ct_volume.affine)
    with pytest.raises(NotCtError):
        check_pair(scaled, kidney_map, project)


def test_an_image_is_known_again_whatever_the_order_of_its_axes(project, ct_volume, kidney_map):
    project.add(ct_volume, kidney_map, "First")
    flipped = ct_volume.affine.copy()
    flipped[:3, 3] += flipped[:3, 0] * (ct_volume.shape[2] - 1)
    flipped[:3, 0] *= -1
    other = Volume(np.ascontiguousarray(ct_volume.array[:, :, ::-1]), flipped)
    assert voxel_checksum(other) == voxel_checksum(ct_volume)
    with pytest.raises(DuplicateCaseError, match='"First"'):
        check_pair(other, LabelMap(kidney_map.array[:, :, ::-1].copy(), flipped), project)


def test_part_of_the_grid_in_another_order_is_placed_exactly(ct_volume, kidney_map):
    part = kidney_map.array[1:7, 2:9, 3:8]
    affine = kidney_map.affine.copy()
    affine[:3, 3] = (kidney_map.affine @ [3, 2, 1, 1])[:3]
    assert np.array_equal(onto_grid(LabelMap(part, affine), ct_volume), kidney_map.array)
    swapped = affine[:, [1, 0, 2, 3]]
    turned = LabelMap(np.ascontiguousarray(part.transpose(0, 2, 1)), swapped)
    assert np.array_equal(onto_grid(turned, ct_volume), kidney_map.array)


def test_a_finer_grid_over_the_same_box_is_resampled(ct_volume, kidney_map):
    fine = kidney_map.array.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = kidney_map.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = (kidney_map.affine @ [-0.25, -0.25, -0.25, 1])[:3]
    assert np.array_equal(onto_grid(LabelMap(fine, affine), ct_volume), kidney_map.array)
    part = LabelMap(fine[2:12], affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1.0]]))
    with pytest.raises(GeometryError, match="another grid"):
        onto_grid(part, ct_volume)
    assert np.array_equal(onto_grid(part, ct_volume, drawn_on_image=True), kidney_map.array)


def test_the_thumbnail_shows_the_slice_of_the_largest_lesion(ct_volume, make_affine):
    volume = Volume(ct_volume.array, make_affine((1.0, 1.0, 2.0)))
    labels = np.zeros(volume.shape, np.uint8)
    labels[2, 3:9, 3:7] = 1
    labels[5, 4:7, 3:6] = 2
    picture = draw_thumbnail(volume, labels, KIDNEY_LABELS)
    assert picture.shape == (SIZE, SIZE, 3)
    colors = {tuple(int(v) for v in color) for color in picture.reshape(-1, 3)}
    assert KIDNEY_TUMOR.color in colors
    assert KIDNEY_LABELS[0].color not in colors


def segment(name, terminology="", tag="", empty=False):
    return SegmentDescription("s", name, terminology, tag, empty)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *(("Tumor", "kidney tumor"), ("tumour_2", "kidney tumor"), ("Kidney Tumor", "kidney tumor")),
        *(("left kidney", "left kidney"), ("Kidney_R", "right kidney"), ("KidneyLeft", "left kidney")),
        *(("left kidney tumor", "kidney tumor"), ("Cysts", "kidney cyst"), ("renal cyst", "kidney cyst")),
        *(("Niere", ""), ("kidney", ""), ("Segment_1", ""), ("", ""), ("spleen", ""), ("Left", "left kidney")),
    ],
)
def test_names_find_their_label(name, label):
    assert match_segments([segment(name)], KIDNEY_LABELS) == {"s": label}


def test_terminology_finds_the_label_of_a_segment_with_any_name():
    right = KIDNEY_RIGHT.terminology.to_slicer()
    assert match_segments([segment("Segment_1", right)], KIDNEY_LABELS) == {"s": "right kidney"}
    mass = Terminology(("SCT", "49755003", "Morph"), ("SCT", "108369006", "Neoplasm")).to_slicer()
    assert match_segments([segment("mass", mass)], KIDNEY_LABELS) == {"s": "kidney tumor"}
    assert match_segments([segment("mass", mass)], (*KIDNEY_LABELS, *LIVER_LABELS)) == {"s": ""}
    tissue = Terminology(("SCT", "85756007", "Tissue"), ("SCT", "85756007", "Tissue")).to_slicer()
    assert match_segments([segment("Tumor", tissue)], KIDNEY_LABELS) == {"s": "kidney tumor"}


def test_the_user_chooses_where_name_and_origin_disagree():
    assert match_segments([segment("right kidney", tag="left kidney")], KIDNEY_LABELS) == {"s": ""}
    assert match_segments([segment("my side", tag="left kidney")], KIDNEY_LABELS) == {"s": "left kidney"}
    assert match_segments([segment("Tumor", empty=True)], KIDNEY_LABELS) == {"s": ""}
