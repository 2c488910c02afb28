import numpy as np
import pytest

from hlfd.preprocess.body import find_body
from hlfd.preprocess.components import components, index_box
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import Box, Grid, grid_over, merge_boxes
from hlfd.preprocess.morphology import opening
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume


def body_of(array, spacing=2.0):
    return find_body(make_frame(canonical(Volume(array, np.diag([spacing, spacing, spacing, 1.0])))))


def test_the_box_holds_the_body_and_not_the_table(make):
    array = np.full((60, 120, 140), -1000, np.int16)
    array[make.ellipsoid(array.shape, (2, 2, 2), (160, 130, 60), (90, 70, 1000))] = 30
    array[:, 8:12, 10:130] = 100  # a table top 36 mm below the back
    body = body_of(array)
    assert body.found
    assert body.midline == pytest.approx(160, abs=3)
    low, high = body.box.low, body.box.high
    assert 40 <= low[1] <= 60
    assert 200 <= high[1] <= 212
    assert 58 <= low[2] <= 70
    assert 250 <= high[2] <= 262


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (3, 5, 7)])
def test_an_image_without_a_body_is_searched_as_a_whole(shape):
    body = body_of(np.full(shape, -1000, np.int16))
    assert not body.found
    assert body.box.high == tuple(2.0 * (n - 0.5) for n in shape)


def test_components_are_labelled_with_box_and_centre():
    mask = np.zeros((8, 9, 10), bool)
    mask[1:3, 2:5, 3:7] = True
    mask[7, 8, 9] = True
    parts = sorted(components(mask).parts, key=lambda part: part.voxels)
    assert [part.voxels for part in parts] == [1, 24]
    assert parts[1].low == (1, 2, 3)
    assert parts[1].high == (3, 5, 7)
    assert parts[1].centroid == (1.5, 3.0, 4.5)


def test_an_empty_mask_has_no_components():
    assert components(np.zeros((2, 3, 4), bool)).parts == ()
    assert index_box(np.zeros((2, 3, 4), bool)) == ((0, 0, 0), (0, 0, 0))


def test_opening_removes_a_bridge_and_keeps_what_the_border_of_the_image_cuts():
    mask = np.zeros((12, 12, 30), bool)
    mask[:8, 3:9, 3:12] = True
    mask[:8, 3:9, 18:27] = True
    mask[4, 6, 12:18] = True
    opened = opening(mask, 1)
    assert len(components(opened).parts) == 2
    assert opened[0, 6, 6]
    assert not opened[4, 6, 15]


def test_overlapping_boxes_are_joined_and_distant_ones_kept():
    a, b, c = Box((0, 0, 0), (10, 10, 10)), Box((9, 9, 9), (20, 20, 20)), Box((50, 50, 50), (60, 60, 60))
    assert merge_boxes([a, c, b]) == [c, Box((0.0, 0.0, 0.0), (20.0, 20.0, 20.0))]


def test_a_grid_covers_its_box_in_multiples_of_the_divisor():
    grid = grid_over(Box((0, 0, 0), (30, 31, 48)), 1.5, 16)
    assert grid.shape == (32, 32, 32)
    assert grid.start == (0.75, 0.75, 0.75)
    assert Grid((0.75,) * 3, (1.5,) * 3, (32, 32, 32)).box() == Box((0.0,) * 3, (48.0,) * 3)
