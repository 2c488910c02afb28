"""The pictures look at what matters: the largest tumour, else cyst, else kidney, and the whole body."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.labels import KIDNEY_LABELS, LIVER, LIVER_TUMOR, Label
from hlfd.volume import LabelMap, Volume

targets = pytest.importorskip("HLFDSegmentLib.targets")
AFFINE = np.diag([-2.0, 1.0, 3.0, 1.0])


def label_map(array, labels=KIDNEY_LABELS):
    return LabelMap(array, AFFINE, labels)


def blocks(**places):
    array = np.zeros((20, 20, 20), np.uint8)
    values = {"left": 1, "tumor": 2, "cyst": 3, "right": 4}
    for name, (start, size) in places.items():
        array[tuple(slice(start, start + size) for _ in range(3))] = values[name.rstrip("_")]
    return array


def test_the_largest_tumor_wins_over_a_larger_cyst_and_kidney():
    target = targets.choose_target(label_map(blocks(left=(0, 6), cyst=(8, 5), tumor=(15, 3))))
    assert (target.kind, target.name) == ("lesion", "kidney tumor")
    assert target.center_ras == (-32.0, 16.0, 48.0)
    assert target.volume_ml == pytest.approx(27 * 6 / 1000)


def test_of_two_tumors_the_larger_one_is_shown():
    target = targets.choose_target(label_map(blocks(tumor=(1, 2), tumor_=(10, 3))))
    assert target.center_ras == (-22.0, 11.0, 33.0)


def test_without_tumor_the_cyst_is_shown_and_without_lesion_the_larger_kidney():
    assert targets.choose_target(label_map(blocks(left=(0, 6), cyst=(8, 2)))).name == "kidney cyst"
    target = targets.choose_target(label_map(blocks(left=(0, 3), right=(10, 5))))
    assert (target.kind, target.name) == ("organ", "right kidney")


def test_a_liver_tumor_counts_as_lesion_and_a_liver_as_organ():
    array = np.zeros((8, 8, 8), np.uint8)
    array[:5] = LIVER.value
    assert targets.choose_target(label_map(array, (LIVER, LIVER_TUMOR))).kind == "organ"
    array[1, 1, 1] = LIVER_TUMOR.value
    assert targets.choose_target(label_map(array, (LIVER, LIVER_TUMOR))).name == "liver tumor"


def test_the_centre_of_a_ring_lies_in_the_ring():
    array = np.zeros((9, 9, 9), np.uint8)
    array[4, 1:8, 1:8] = 2
    array[4, 2:7, 2:7] = 0
    i, j, k = np.array(targets.choose_target(label_map(array)).center_ras) / np.diag(AFFINE)[:3]
    assert array[int(k), int(j), int(i)] == 2


def test_nothing_found_points_to_the_middle_of_the_image():
    target = targets.choose_target(label_map(np.zeros((3, 5, 7), np.uint8)))
    assert target.kind == "image"
    assert target.center_ras == (-6.0, 2.0, 3.0)


def test_a_label_without_terminology_is_judged_by_its_name():
    assert targets.is_lesion(Label(1, "Tumor left", (1, 2, 3)))
    assert not targets.is_lesion(Label(1, "kidney", (1, 2, 3)))


def test_the_body_box_leaves_out_air_and_a_thin_table():
    array = np.full((40, 80, 80), -1000, np.int16)
    array[5:35, 20:60, 10:70] = 40
    array[5:35, 75, 38:42] = 200
    box = targets.body_box(Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])))
    assert np.allclose(box.low, [10, 20, 5], atol=4)
    assert np.allclose(box.high, [70, 60, 35], atol=4)


def test_an_image_of_air_is_shown_whole():
    box = targets.body_box(Volume(np.full((4, 5, 6), -1000, np.int16), np.eye(4)))
    assert np.array_equal(box.size, [5, 4, 3])


def test_the_box_of_the_structures_is_in_ras():
    box = targets.structures_box(label_map(blocks(left=(2, 3))))
    assert np.array_equal(box.low, [-8, 2, 6])
    assert np.array_equal(box.high, [-4, 4, 12])
    assert targets.structures_box(label_map(np.zeros((2, 2, 2), np.uint8))) is None
