import numpy as np
import pytest

from hlfd.preprocess.intensity import window_channels
from hlfd.preprocess.resample import make_axis, resample


def plan(shape, spacing, start, counts, out):
    return tuple(make_axis(n, s, o, c, out) for n, s, o, c in zip(shape, spacing, start, counts))


def test_the_same_grid_gives_the_same_values():
    hu = np.random.default_rng(0).integers(-1000, 1500, (5, 6, 7)).astype(np.int16)
    np.testing.assert_array_equal(resample(hu, plan(hu.shape, (3.0,) * 3, (0.0,) * 3, hu.shape, 3.0)), hu)


@pytest.mark.parametrize("out", [0.9, 1.5, 3.0, 4.1])
def test_a_linear_ramp_keeps_its_values_at_their_places(out):
    spacing, shape = (2.5, 0.8, 0.7), (30, 90, 100)
    z, y, x = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing)), indexing="ij")
    ramp = (2 * x + 3 * y - 4 * z).astype(np.float32) * 10
    start, counts = (12.0, 11.0, 13.0), (9, 8, 7)
    places = [o + out * np.arange(c) for o, c in zip(start, counts)]
    z, y, x = np.meshgrid(*places, indexing="ij")
    result = resample(ramp, plan(shape, spacing, start, counts, out))
    # HU are rounded to whole numbers and a block centre is exact, so half a HU is the most.
    np.testing.assert_allclose(result, np.clip(10 * (2 * x + 3 * y - 4 * z), -2048, 4095), atol=0.51)


def test_blocks_are_averaged():
    hu = np.random.default_rng(1).integers(-1000, 1500, (6, 8, 12)).astype(np.int16)
    result = resample(hu, plan(hu.shape, (1.0,) * 3, (0.5, 0.5, 0.5), (3, 4, 6), 2.0))
    np.testing.assert_allclose(result, hu.reshape(3, 2, 4, 2, 6, 2).mean((1, 3, 5)), atol=1e-3)


@pytest.mark.parametrize("value", [-32768, 32767])
@pytest.mark.parametrize("out", [2.0, 3.0, 6.0])
def test_extreme_values_are_clipped_and_never_overflow(value, out):
    hu = np.full((12, 12, 12), value, np.int16)
    result = resample(hu, plan(hu.shape, (1.0,) * 3, (0.0,) * 3, (2, 2, 2), out))
    np.testing.assert_allclose(result, np.clip(value, -2048, 4095), rtol=1e-5)


def test_float_and_integer_volumes_give_the_same_values():
    hu = np.random.default_rng(2).integers(-1000, 1500, (9, 10, 11)).astype(np.int16)
    axes = plan(hu.shape, (1.0,) * 3, (0.3,) * 3, (4, 4, 4), 2.2)
    np.testing.assert_array_equal(resample(hu, axes), resample(hu.astype(np.float32), axes))


def test_outside_the_image_the_border_is_repeated():
    hu = np.full((1, 1, 1), 42, np.int16)
    assert (resample(hu, plan((1, 1, 1), (1.0,) * 3, (-5.0,) * 3, (4, 4, 4), 3.0)) == 42).all()


def test_windows_map_to_minus_one_to_one_and_clip():
    hu = np.array([[[-500, -200, 50, 300, 900]]], np.float32)
    channels = window_channels(hu, [(-200, 300), (-1000, 1000)])
    np.testing.assert_allclose(channels[0, 0, 0, 0], [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(channels[0, 1, 0, 0], [-0.5, -0.2, 0.05, 0.3, 0.9], atol=1e-6)
