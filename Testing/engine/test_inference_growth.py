"""A region grows after a mass that reaches its end, and after nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.inference.growth import follow_masses
from hlfd.inference.regions import Found, RegionRules
from hlfd.inference.segmenter import Segmenter
from hlfd.preprocess.grid import Box, Grid
from hlfd.volume import Volume

COARSE = Grid((0.0, 0.0, 0.0), (3.0, 3.0, 3.0), (60, 60, 60))
BOX = Box((30.0, 30.0, 30.0), (90.0, 90.0, 90.0))
FINE = Grid((30.75, 30.75, 30.75), (1.5, 1.5, 1.5), (40, 40, 40))
BODY = Box((0.0, 0.0, 0.0), (150.0, 150.0, 150.0))
RULES = RegionRules(margin_mm=16.0, support_mm=16.0)
KIDNEY, TUMOR, CYST = 1, 2, 3


@pytest.fixture
def found():
    """A support that is the box and ends with it."""
    support = np.zeros(COARSE.shape, bool)
    support[COARSE.slices(BOX)] = True
    return Found([BOX], support, COARSE)


@pytest.fixture
def labels():
    values = np.zeros(FINE.shape, np.uint8)
    values[4:20, 4:20, 4:20] = KIDNEY
    return values


def follow(labels, found, limits=BODY):
    return follow_masses(labels, FINE, (TUMOR, CYST), BOX, limits, found, RULES)


def test_a_mass_that_ends_inside_needs_no_larger_region(labels, found):
    labels[20:38, 4:20, 4:20] = TUMOR
    assert follow(labels, found) is None


def test_an_organ_that_reaches_the_end_is_no_mass(labels, found):
    labels[20:, 4:20, 4:20] = KIDNEY
    assert follow(labels, found) is None


@pytest.mark.parametrize("kind", [TUMOR, CYST])
def test_the_region_follows_a_mass_by_its_margin_and_the_support_goes_with_it(labels, found, kind):
    labels[20:, 4:20, 4:20] = kind
    box, wider = follow(labels, found)
    assert box.low == (30.0, *(pytest.approx(20.0, abs=1e-6),) * 2)  # 16 mm from the mass, which begins 6 mm inside
    assert box.high == (106.0, 90.0, 90.0)
    assert (wider.support >= found.support).all()
    beyond = Grid((92.0, 45.0, 45.0), (1.0, 1.0, 1.0), (30, 1, 1))
    reached = ~wider.outside(beyond)[:, 0, 0]
    assert found.outside(beyond).all()
    assert reached[:12].all()  # to 16 mm, in voxels of 3 mm
    assert not reached[16:].any()


def test_a_mass_at_the_end_of_its_support_inside_the_box_is_followed(labels, found):
    support = found.support.copy()
    support[20:] = False  # above 58.5 mm
    labels[14:19, 4:20, 4:20] = TUMOR
    near = Found(found.boxes, support, COARSE)
    box, wider = follow(labels, near)
    assert box.high == BOX.high
    assert wider.support.sum() > support.sum()


def test_a_mass_that_hardly_touches_the_end_is_whole(labels, found):
    labels[20:38, 4:20, 4:20] = TUMOR
    labels[38:, 4:16, 4:16] = TUMOR  # 18 mm by 18 mm
    assert follow(labels, found) is None


def test_a_region_ends_with_the_body(labels, found):
    labels[20:, 4:20, 4:20] = TUMOR
    box, _ = follow(labels, found, limits=Box(BODY.low, (95.0, 150.0, 150.0)))
    assert box.high[0] == 95.0
    assert follow(labels, found, limits=BOX) is None  # nowhere to go


def test_a_mass_of_which_the_locator_sees_nothing_is_marked_whole(make, patient, tmp_path, monkeypatch):
    volume, masks = patient
    hu = volume.array.copy()
    mass = make.ellipsoid(hu.shape, (2.5, 2.5, 2.5), (75, 120, 80), (35, 50, 35)) & ~masks["left kidney"]
    hu[mass] = 400
    locator = make.entry(tmp_path, "locator", 3.0, ("background", "kidney", "tumor"))
    refiner = make.entry(tmp_path, "refiner", 1.5, ("background", "kidney", "tumor", "cyst"))
    segmenter = Segmenter(make.package(tmp_path, locator, refiner), SegmentSettings(backend="openvino"))
    truth = int((mass | masks["kidney tumor"]).sum())
    whole = segmenter.run(Volume(hu, volume.affine))
    assert np.count_nonzero(whole.label_map.array == TUMOR) > 0.88 * truth  # its rim has the HU of kidney
    monkeypatch.setattr("hlfd.inference.segmenter.MOST_TIMES", 0)
    cut = segmenter.run(Volume(hu, volume.affine))
    assert np.count_nonzero(cut.label_map.array == TUMOR) < 0.8 * truth
    assert len(whole.regions) == 2
    before = segmenter.locate(Volume(hu, volume.affine)).boxes
    longest = max(high[1] - low[1] for low, high in whole.regions)
    assert longest > max(box.high[1] - box.low[1] for box in before) + 10  # along y


def test_a_mass_that_vanishes_with_more_around_it_stays_as_it_was(make, patient, tmp_path, monkeypatch):
    volume, _ = patient
    locator = make.entry(tmp_path, "locator", 3.0, ("background", "kidney"))
    refiner = make.entry(tmp_path, "refiner", 1.5, ("background", "kidney", "tumor", "cyst"))
    segmenter = Segmenter(make.package(tmp_path, locator, refiner), SegmentSettings(backend="openvino"))
    expected = segmenter.run(volume)
    looks = []

    def nothing_there(labels, grid, lesions, box, limits, found, rules):
        if not np.isin(labels, lesions).any():
            return None
        looks.append(box)
        return Box(box.low, box.low), found  # a region that holds nothing

    monkeypatch.setattr("hlfd.inference.segmenter.follow_masses", nothing_there)
    result = segmenter.run(volume)
    assert looks
    assert (result.label_map.array == expected.label_map.array).all()
