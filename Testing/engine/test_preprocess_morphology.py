"""Bit-packed morphology gives what SimpleITK's balls give."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from hlfd.preprocess.morphology import dilate, opening

SHAPES = [(1, 1, 1), (5, 6, 7), (3, 3, 200), (17, 9, 128), (20, 30, 70)]


def mask_of(shape: tuple[int, int, int], share: float) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < share


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("radius", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_dilation_equals_that_of_simpleitk(shape: tuple[int, int, int], radius: int, share: float) -> None:
    mask = mask_of(shape, share)
    expected = sitk.BinaryDilate(sitk.GetImageFromArray(mask.view(np.uint8)), [radius] * 3, sitk.sitkBall, 0.0, 1.0)
    np.testing.assert_array_equal(dilate(mask, radius), sitk.GetArrayFromImage(expected) > 0)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_opening_equals_that_of_simpleitk_on_a_mask_that_goes_on(
    shape: tuple[int, int, int], radius: int, share: float
) -> None:
    mask = mask_of(shape, share)
    padded = sitk.GetImageFromArray(np.pad(mask, radius, mode="edge").view(np.uint8))
    expected = sitk.GetArrayFromImage(sitk.BinaryMorphologicalOpening(padded, [radius] * 3, sitk.sitkBall, 0.0, 1.0))
    inner = (slice(radius, -radius),) * 3
    np.testing.assert_array_equal(opening(mask, radius), expected[inner] > 0)


def test_a_radius_of_zero_changes_nothing() -> None:
    mask = mask_of((4, 5, 6), 0.5)
    np.testing.assert_array_equal(dilate(mask, 0), mask)
    np.testing.assert_array_equal(opening(mask, 0), mask)
