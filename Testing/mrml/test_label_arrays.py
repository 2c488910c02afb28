"""Cutting a label map keeps every label where it is."""

from __future__ import annotations

import numpy as np

from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap
from HLFDSegmentLib.label_arrays import crop_to_labels, cropped, values_in


def test_the_cut_holds_all_labels_and_says_where_it_begins():
    array = np.zeros((6, 7, 8), np.uint8)
    array[2:4, 3:5, 4:7] = 2
    cut, start = crop_to_labels(array)
    assert cut.shape == (2, 2, 3)
    assert start == (2, 3, 4)
    assert cut.all()


def test_an_empty_map_is_cut_to_one_voxel():
    cut, start = crop_to_labels(np.zeros((3, 4, 5), np.uint8))
    assert cut.shape == (1, 1, 1)
    assert start == (0, 0, 0)


def test_values_are_those_that_occur():
    assert values_in(np.array([[[0, 4, 4, 255]]], np.uint8)) == {4, 255}
    assert values_in(np.zeros((2, 2, 2), np.uint8)) == frozenset()


def test_the_cut_map_lies_at_the_same_place(label_map):
    cut = cropped(label_map)
    k, j, i = np.argwhere(label_map.array == 2)[0]
    ck, cj, ci = np.argwhere(cut.array == 2)[0]
    assert np.allclose(cut.affine @ [ci, cj, ck, 1], label_map.affine @ [i, j, k, 1])
    assert cut.labels == KIDNEY_LABELS
    assert isinstance(cut, LabelMap)
