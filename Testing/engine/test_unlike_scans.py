"""The shipped models say of scans of other regions, of noise and of wrong HU that they are none of its own."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.inference.quality import UNLIKE
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_volume
from hlfd.models.registry import find
from hlfd.models.resources import sample_folder
from hlfd.volume import Volume
from Testing import unlike_scans


@pytest.fixture(scope="module", params=["kidney", "liver"])
def segmenter(request) -> Segmenter:
    return Segmenter(find(request.param), SegmentSettings(device="cpu"))


@pytest.fixture(scope="module")
def sample() -> Volume:
    return read_volume(sample_folder() / "sample_ct.nii.gz")


def assert_nothing_is_marked(segmenter: Segmenter, volume: Volume) -> None:
    result = segmenter.run(volume)
    assert [warning for warning in result.warnings if warning.startswith(UNLIKE)], result.warnings
    assert result.lesions == ()
    assert not result.label_map.array.any()


@pytest.mark.parametrize("scan", ["air", "noise", "weak_noise", "smooth_noise", "head", "legs"])
def test_nothing_is_marked_where_there_is_no_abdomen(segmenter, scan):
    pytest.importorskip("scipy")
    assert_nothing_is_marked(segmenter, getattr(unlike_scans, scan)())


@pytest.mark.parametrize(("centre_z", "seed"), [(320.0, 1), (-300.0, 3)], ids=["chest", "pelvis"])
def test_nothing_is_marked_in_other_parts_of_a_simulated_patient(segmenter, centre_z, seed):
    pytest.importorskip("torch")
    assert_nothing_is_marked(segmenter, unlike_scans.region(centre_z, seed))


@pytest.mark.parametrize(
    "change",
    [lambda hu: hu + 1024, lambda hu: np.maximum(hu - 1024, -1024), lambda hu: 2 * hu, lambda hu: hu // 2],
    ids=["offset", "offset below", "doubled", "halved"],
)
def test_nothing_is_marked_in_a_ct_with_wrong_hu(segmenter, sample, change):
    hu = change(sample.array.astype(np.int32))
    assert_nothing_is_marked(segmenter, Volume(hu.astype(np.int16), sample.affine))


def test_the_sample_is_like_the_training(segmenter, sample):
    result = segmenter.run(sample)
    assert result.warnings == ()
    assert result.label_map.array.any()
    if segmenter.package.name == "kidney":
        assert any(lesion.name == "kidney tumor" for lesion in result.lesions)
