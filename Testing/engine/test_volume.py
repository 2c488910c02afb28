"""Volumes and label maps refuse what no CT is, and know their spacing, volume and grid."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.errors import GeometryError, InputError
from hlfd.labels import KIDNEY_LABELS, Label
from hlfd.volume import LabelMap, Volume, check_affine

HU = np.zeros((3, 4, 5), np.int16)


def _affine(row, column, value):
    affine = np.eye(4)
    affine[row, column] = value
    return affine


def test_a_volume_knows_shape_spacing_and_voxel_volume(make_affine):
    volume = Volume(HU, make_affine((0.5, 0.8, 2.5), (1, 2, 3), 40.0, left_handed=True, origin=(9, 8, 7)))
    assert volume.shape == (3, 4, 5)
    assert volume.spacing == pytest.approx((0.5, 0.8, 2.5))
    assert volume.voxel_ml == pytest.approx(0.001)
    assert volume.array is HU


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.eye(3), "4x4"),
        (_affine(0, 3, np.nan), "NaN"),
        (_affine(3, 0, 1.0), "last row"),
        (np.diag([1, 0, 1, 1.0]), "above 0"),
        (np.diag([1, 1, 10.5, 1.0]), "at most 10 mm"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
        (_affine(0, 1, 0.1), r"sheared by 5\.7 degrees"),
    ],
)
def test_affines_that_place_no_ct_are_refused(affine, words):
    with pytest.raises(GeometryError, match=words):
        Volume(HU, affine)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5), (0, 4, 5)])
def test_only_three_dimensions_with_voxels_are_a_volume(shape):
    with pytest.raises(GeometryError):
        Volume(np.zeros(shape, np.int16), np.eye(4))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint16, bool])
def test_other_types_than_int16_and_float32_are_refused(dtype):
    with pytest.raises(InputError, match="int16 or float32"):
        Volume(HU.astype(dtype), np.eye(4))


def test_nan_is_counted_in_the_message():
    array = HU.astype(np.float32)
    array[0, 0, :2] = np.nan
    with pytest.raises(InputError, match="2 NaN") as caught:
        Volume(array, np.eye(4))
    assert "-1024" in caught.value.remedy


def test_the_affine_is_copied():
    affine = np.eye(4)
    volume = Volume(HU, affine)
    affine[0, 3] = 5
    assert volume.affine[0, 3] == 0
    assert check_affine(affine) is not affine


def test_grids_are_the_same_when_every_voxel_is_in_place(make_affine):
    affine = make_affine((0.7, 0.7, 1.0), (0, 1, 1), 10.0)
    volume = Volume(HU, affine)
    assert volume.same_grid(Volume(HU + 1, affine + _affine(0, 3, 0.001) - np.eye(4)))
    assert not volume.same_grid(Volume(HU, affine + _affine(0, 3, 0.1) - np.eye(4)))
    assert not volume.same_grid(Volume(HU[:2], affine))


def test_label_maps_are_uint8_with_unique_values():
    with pytest.raises(InputError, match="uint8"):
        LabelMap(HU, np.eye(4))
    twice = (Label(1, "a", (0, 0, 0)), Label(1, "b", (0, 0, 0)))
    with pytest.raises(InputError, match="twice"):
        LabelMap(HU.astype(np.uint8), np.eye(4), twice)


def test_masks_are_taken_by_name():
    array = np.zeros((2, 2, 2), np.uint8)
    array[0, 0] = [1, 4]
    array[1, 1, 1] = 2
    label_map = LabelMap(array, np.eye(4), KIDNEY_LABELS)
    assert label_map.mask("left kidney", "right kidney").sum() == 2
    assert label_map.mask("kidney tumor").sum() == 1
    with pytest.raises(InputError, match="spleen"):
        label_map.mask("spleen")
