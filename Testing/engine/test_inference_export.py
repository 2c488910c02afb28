import numpy as np
import pytest

from hlfd.inference.export import Values, crop_to_foreground, export_labels
from hlfd.inference.postprocess import argmax_labels
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import Grid
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume

SAME = np.arange(4, dtype=np.uint8)


def interpolate(array, axis, positions):
    """Interpolate linearly at ``positions``, all at once: the slow way that export must equal."""
    place = np.clip(np.round(positions, 6), 0, array.shape[axis] - 1)
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, array.shape[axis] - 1)
    weight = (place - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    return np.take(array, lower, axis) * (1 - weight) + np.take(array, upper, axis) * weight


def whole(logits, grid, shape, spacing):
    """Upsample all logits to the full grid, then take the argmax."""
    full = logits
    for axis in (2, 1, 0):
        positions = (np.arange(shape[axis]) * spacing[axis] - grid.start[axis]) / grid.spacing[axis]
        full = interpolate(full, axis + 1, positions)
    return full.argmax(0).astype(np.uint8)


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(4, 6, 7, 8)).astype(np.float32)
    smooth = coarse.repeat(3, 1).repeat(3, 2).repeat(3, 3)
    smooth[0] += 1.0
    smooth[1:, :5] -= 5  # background only at one end
    return smooth


@pytest.mark.parametrize("spacing", [(1.5, 0.7, 0.7), (5.0, 0.9, 0.9), (1.5, 1.5, 1.5)])
def test_export_equals_upsampling_all_logits_bit_for_bit(logits, spacing):
    grid = Grid((0.75, 0.75, 0.75), (1.5, 1.5, 1.5), logits.shape[1:])
    shape = tuple(int((n - 0.5) * 1.5 / s) for n, s in zip(logits.shape[1:], spacing))
    frame = make_frame(canonical(Volume(np.zeros(shape, np.int16), np.diag([*spacing[::-1], 1.0]))), 2)
    labels = argmax_labels(logits)
    out = np.zeros(shape, np.uint8)
    export_labels(*crop_to_foreground(logits, grid, labels), frame, Values(SAME, SAME, 0.0), out)
    np.testing.assert_array_equal(out, whole(logits, grid, shape, spacing))
    assert len(np.unique(out)) == 4


def test_columns_left_of_the_plane_get_the_left_values(logits):
    grid = Grid((0.0,) * 3, (1.0,) * 3, logits.shape[1:])
    frame = make_frame(canonical(Volume(np.zeros(logits.shape[1:], np.int16), np.eye(4))))
    out = np.zeros(logits.shape[1:], np.uint8)
    right = np.array([0, 9, 2, 3], np.uint8)
    export_labels(logits, grid, frame, Values(SAME, right, 10.0), out)
    assert 9 not in out[:, :, :10]
    assert 1 not in out[:, :, 10:]
    assert 1 in out
    assert 9 in out


def test_a_region_outside_the_image_writes_nothing(logits):
    grid = Grid((900.0,) * 3, (1.0,) * 3, logits.shape[1:])
    frame = make_frame(canonical(Volume(np.zeros((4, 4, 4), np.int16), np.eye(4))))
    out = np.zeros((4, 4, 4), np.uint8)
    export_labels(logits, grid, frame, Values(SAME, SAME, 0.0), out)
    assert not out.any()


def test_a_turned_volume_gets_the_label_at_each_voxels_place():
    angle = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = (4.0, -8.0, 3.0)
    frame = make_frame(canonical(Volume(np.zeros((10, 40, 40), np.int16), affine)))
    grid = Grid((-40.0, -40.0, -40.0), (2.0,) * 3, (40, 40, 40))
    x = grid.start[2] + 2.0 * np.arange(40)
    logits = np.zeros((2, 40, 40, 40), np.float32)
    logits[1] = x - 1.3  # foreground where RAS x > 1.3 mm
    out = np.zeros((10, 40, 40), np.uint8)
    export_labels(logits, grid, frame, Values(np.array([0, 1], np.uint8), np.array([0, 4], np.uint8), 20.0), out)
    k, j, i = np.meshgrid(np.arange(10), np.arange(40), np.arange(40), indexing="ij")
    ras = np.stack([i, j, k, np.ones_like(i)], -1) @ affine.T
    inside = ((ras[..., :3] > -39) & (ras[..., :3] < 37)).all(-1)
    expected = np.where(ras[..., 0] > 1.3, np.where(ras[..., 0] >= 20, 4, 1), 0)
    clear = inside & (np.abs(ras[..., 0] - 1.3) > 1e-3) & (np.abs(ras[..., 0] - 20) > 1e-3)
    np.testing.assert_array_equal(out[clear], expected[clear])
