import itertools

import numpy as np
import pytest

from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume

ARRAY = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[0.7, 0, 0, -10], [0, 0.8, 0, 20], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])


def reordered(volume, axes, flips):
    """Store the same scan with permuted (k, j, i) axes, then flipped ones."""
    array = volume.array.transpose(axes)
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, [2 - axes[2 - c] for c in range(3)]]
    for axis in flips:
        column, size = 2 - axis, array.shape[axis]
        affine[:3, 3] += affine[:3, column] * (size - 1)
        affine[:3, column] *= -1
    return Volume(np.ascontiguousarray(np.flip(array, flips)), affine)


ORDERS = [(axes, flips) for axes in itertools.permutations(range(3)) for flips in ((), (0,), (1, 2), (0, 1, 2))]


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_every_order_of_axes_becomes_the_same_view(axes, flips):
    view = canonical(reordered(Volume(ARRAY, AFFINE), axes, flips))
    np.testing.assert_array_equal(view.array, ARRAY)
    np.testing.assert_allclose(view.affine, AFFINE, atol=1e-9)
    assert view.spacing == (2.5, 0.8, 0.7)
    assert view.aligned


@pytest.mark.parametrize(("axes", "flips"), ORDERS[:8])
def test_what_is_written_into_a_view_lands_on_the_same_voxels_of_the_file(axes, flips):
    stored = reordered(Volume(ARRAY, AFFINE), axes, flips)
    out = np.zeros_like(stored.array)
    canonical(stored).orientation.view(out)[:] = ARRAY
    np.testing.assert_array_equal(out, stored.array)


def test_a_volume_turned_by_ten_degrees_is_oblique():
    turn = np.eye(4)
    angle = np.radians(10)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert not canonical(Volume(ARRAY, turn @ AFFINE)).aligned


def test_a_volume_turned_by_one_degree_counts_as_aligned():
    turn = np.eye(4)
    angle = np.radians(1)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert canonical(Volume(ARRAY, turn @ AFFINE)).aligned
