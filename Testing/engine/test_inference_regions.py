import numpy as np
import pytest

from hlfd.errors import ModelError
from hlfd.inference.regions import RegionRules, find_regions
from hlfd.inference.roles import class_labels, make_roles
from hlfd.preprocess.grid import Grid

CLASSES = ("background", "kidney", "liver")
SHAPE = (70, 60, 100)
GRID = Grid((0.0, 0.0, 0.0), (3.0, 3.0, 3.0), SHAPE)
MIDLINE = 150.0


@pytest.fixture
def kidneys(make):
    labels = np.zeros(SHAPE, np.uint8)
    for x in (90, 210):
        labels[make.ellipsoid(SHAPE, (3, 3, 3), (x, 80, 100), (25, 25, 50))] = 1
    return labels


def test_each_kidney_gets_its_region_with_the_margin(kidneys):
    left, right = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(margin_mm=10)).boxes
    assert left.low == pytest.approx((40, 45, 55), abs=4)
    assert left.high == pytest.approx((160, 115, 125), abs=4)
    assert right.low[2] == pytest.approx(175, abs=4)


def test_other_organs_small_parts_and_parts_before_the_spine_are_no_region(make):
    labels = np.zeros(SHAPE, np.uint8)
    labels[make.ellipsoid(SHAPE, (3, 3, 3), (230, 100, 150), (50, 40, 40))] = 2
    labels[make.ellipsoid(SHAPE, (3, 3, 3), (90, 80, 100), (10, 10, 10))] = 1
    labels[make.ellipsoid(SHAPE, (3, 3, 3), (148, 120, 100), (20, 20, 30))] = 1
    assert find_regions(labels, GRID, CLASSES, MIDLINE, RegionRules()).boxes == []


def test_a_larger_part_in_the_muscles_of_the_back_does_not_take_the_place_of_a_kidney(kidneys, make):
    expected = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules()).boxes
    kidneys[make.ellipsoid(SHAPE, (3, 3, 3), (90, 20, 100), (30, 15, 75))] = 1
    assert find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(), back=40.0).boxes == expected
    kidneys[:, 30:, :50] = 0  # no other part on this side: it may be a displaced kidney
    assert len(find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(), back=40.0).boxes) == 2


def test_a_horseshoe_across_the_midline_is_one_region(kidneys, make):
    kidneys[make.ellipsoid(SHAPE, (3, 3, 3), (150, 80, 70), (80, 12, 12))] = 1
    regions = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(margin_mm=10)).boxes
    assert len(regions) == 1
    assert regions[0].low[2] < 60
    assert regions[0].high[2] > 240


def test_two_parts_of_one_kidney_are_in_one_region(kidneys):
    kidneys[36:40] = 0  # cut by a mass that the locator missed
    left, _right = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules()).boxes
    assert left.low[0] < 50
    assert left.high[0] > 150


def test_an_organ_without_sides_gets_its_largest_component(kidneys):
    regions = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(sided=False)).boxes
    assert len(regions) == 1


def test_an_unknown_organ_is_a_model_error(kidneys):
    with pytest.raises(ModelError, match="spleen"):
        find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(organs=("spleen",)))


def test_what_lies_far_from_the_located_organ_is_outside_of_its_support(kidneys):
    found = find_regions(kidneys, GRID, CLASSES, MIDLINE, RegionRules(support_mm=12))
    fine = Grid((0.75, 0.75, 0.75), (1.5, 1.5, 1.5), (140, 120, 200))
    outside = found.outside(fine)
    z, y, x = np.argwhere(~outside).T
    assert outside[66, 53, 100]  # between the kidneys
    assert not outside[66, 53, 60]
    assert x.min() * 1.5 == pytest.approx(90 - 25 - 12, abs=5)
    assert z.max() * 1.5 == pytest.approx(100 + 50 + 12, abs=5)
    assert y.min() * 1.5 == pytest.approx(80 - 25 - 12, abs=5)


LABELS = ("left kidney", "kidney tumor", "kidney cyst", "right kidney")


@pytest.mark.parametrize(
    ("name", "names", "explicit", "expected"),
    [
        ("kidney", LABELS, {}, ("left kidney", "right kidney")),
        ("tumor", LABELS, {}, ("kidney tumor", "kidney tumor")),
        ("cyst", LABELS, {}, ("kidney cyst", "kidney cyst")),
        ("liver", ("liver", "liver tumor"), {}, ("liver", "liver")),
        ("tumor", ("liver", "liver tumor"), {}, ("liver tumor", "liver tumor")),
        ("mass", LABELS, {"mass": "kidney tumor"}, ("kidney tumor", "kidney tumor")),
        ("organ", LABELS, {"organ": ["left kidney", "right kidney"]}, ("left kidney", "right kidney")),
    ],
)
def test_classes_find_their_labels(name, names, explicit, expected):
    assert class_labels(name, names, explicit) == expected


def test_a_class_without_a_label_is_a_model_error():
    with pytest.raises(ModelError, match="class_to_label"):
        class_labels("spleen", LABELS, {})


def test_roles_of_the_kidney_package_follow_the_kits_values(exact_package):
    roles = make_roles(exact_package)
    assert roles.left == (0, 1, 2, 3)
    assert roles.right == (0, 4, 2, 3)
    assert roles.organs == (1,)
    assert roles.lesions == (2, 3)


def test_the_slices_of_a_part_of_a_grid_are_those_it_was_cut_with():
    rng = np.random.default_rng(3)
    for _ in range(300):
        grid = Grid(tuple(rng.uniform(-300, 300, 3)), tuple(rng.uniform(0.4, 5, 3)), (40, 50, 60))
        low = [int(v) for v in rng.integers(0, 20, 3)]
        high = [a + int(v) for a, v in zip(low, rng.integers(1, 20, 3))]
        cut = grid.slices(grid.crop(low, high).box())
        assert [(s.start, s.stop) for s in cut] == list(zip(low, high))
