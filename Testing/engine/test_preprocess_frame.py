import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.inference import Segmenter
from hlfd.preprocess.frame import AIR_HU, make_frame
from hlfd.preprocess.grid import Grid
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume


def turned(degrees):
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


@pytest.mark.parametrize("degrees", [0, 20])
def test_what_lies_outside_of_the_volume_is_air(degrees):
    frame = make_frame(canonical(Volume(np.full((6, 6, 6), 40, np.int16), turned(degrees))))
    low, high = frame.box.low, frame.box.high
    middle = tuple((a + b) / 2 for a, b in zip(low, high))
    hu = frame.sample(Grid((middle[0] - 6.0, middle[1], middle[2]), (1.5,) * 3, (9, 1, 1)))[:, 0, 0]
    assert (hu[[0, 1, -2, -1]] == AIR_HU).all()
    assert (hu[3:6] == 40).all()


def test_what_touches_the_border_of_the_image_does_not_take_the_place_of_a_kidney(exact_package, patient):
    volume, masks = patient
    array = volume.array[:, :, 8:].copy()  # the body's box is no multiple of what the locator needs, so it is padded
    array[:, 16:56, -12:] = 20
    array[8:56, 16:56, -3:] = 200  # as bright as the kidney and smaller, unless it goes on beyond the border
    affine = volume.affine.copy()
    affine[0, 3] += 8 * volume.spacing[0]
    result = Segmenter(exact_package, SegmentSettings(backend="openvino")).run(Volume(array, affine))
    found, true = result.label_map.mask("right kidney"), masks["right kidney"][:, :, 8:]
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.95
