import numpy as np
import pytest

from hlfd.inference.postprocess import argmax_labels, clean_region, give_back, relabel
from hlfd.inference.regions import RegionRules
from hlfd.inference.roles import make_roles
from hlfd.preprocess.grid import Grid

SHAPE = (60, 50, 100)
GRID = Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), SHAPE)
MIDLINE = 100.0


@pytest.fixture
def clean(exact_package):
    roles = make_roles(exact_package)

    def run(labels, **rules):
        logits = np.stack([np.where(labels == index, 3.0, -3.0) for index in range(4)]).astype(np.float32)
        plane = clean_region(logits, labels, GRID, roles, RegionRules(**rules), MIDLINE)
        np.testing.assert_array_equal(argmax_labels(logits), labels)  # the logits follow the labels
        return labels, plane

    return run


@pytest.fixture
def labels(make):
    values = np.zeros(SHAPE, np.uint8)
    for x in (50, 150):
        values[make.ellipsoid(SHAPE, (2, 2, 2), (x, 50, 60), (22, 22, 40))] = 1
    return values


def test_two_kidneys_stay_and_are_parted_between_them(clean, labels):
    expected = labels.copy()
    cleaned, plane = clean(labels)
    np.testing.assert_array_equal(cleaned, expected)
    assert 80 < plane < 120


def test_a_tumor_that_touches_no_kidney_is_dropped(clean, labels, make):
    far = make.ellipsoid(SHAPE, (2, 2, 2), (100, 85, 60), (10, 8, 10))
    labels[far] = 2
    cleaned, _ = clean(labels)
    assert not cleaned[far].any()


def test_a_tumor_on_the_kidney_stays_whole(clean, labels, make):
    tumor = make.ellipsoid(SHAPE, (2, 2, 2), (28, 60, 60), (14, 14, 14))
    labels[tumor] = 2
    cleaned, _ = clean(labels)
    assert (cleaned[tumor] == 2).all()


def test_a_sheet_that_barely_touches_the_kidney_is_no_lesion_of_it(clean, labels):
    sheet = np.zeros(SHAPE, bool)
    sheet[10:50, 36:38, 5:70] = True  # in front of the kidney, which reaches y = 72 mm
    sheet &= labels == 0
    labels[sheet] = 2
    barely, _ = clean(labels.copy(), contact_share=0.2)
    assert not barely[sheet].any()
    tolerant, _ = clean(labels.copy(), contact_share=0.0)
    assert (tolerant[sheet] == 2).any()


def test_the_few_voxels_of_a_mass_that_say_otherwise_follow_the_others(clean, labels, make):
    mass = make.ellipsoid(SHAPE, (2, 2, 2), (28, 60, 60), (14, 14, 14))
    labels[mass] = 2
    labels[make.ellipsoid(SHAPE, (2, 2, 2), (26, 60, 60), (7, 7, 7)) & mass] = 3
    cleaned, _ = clean(labels)
    assert (cleaned[mass] == 2).all()


def test_a_mass_that_is_half_a_cyst_stays_as_it_is(clean, labels, make):
    mass = make.ellipsoid(SHAPE, (2, 2, 2), (28, 60, 60), (14, 14, 14))
    labels[mass] = 2
    mass[:, 30:] = False
    labels[mass] = 3
    expected = labels.copy()
    np.testing.assert_array_equal(clean(labels)[0], expected)


def test_masses_that_do_not_touch_decide_by_themselves(clean, labels, make):
    tumor = make.ellipsoid(SHAPE, (2, 2, 2), (30, 60, 45), (12, 12, 12))
    cyst = make.ellipsoid(SHAPE, (2, 2, 2), (30, 60, 85), (5, 5, 5))
    labels[tumor], labels[cyst] = 2, 3
    cleaned, _ = clean(labels)
    assert (cleaned[tumor] == 2).all()
    assert (cleaned[cyst] == 3).all()


def test_a_second_component_on_one_side_is_dropped(clean, labels):
    labels[5:9, 5:20, 5:20] = 1
    cleaned, _ = clean(labels)
    assert not cleaned[5:9, 5:20, 5:20].any()


def test_small_holes_are_given_to_the_kidney_and_large_ones_are_not(clean, labels):
    labels[30, 25, 25] = 0
    labels[25:35, 22:28, 70:78] = 0
    cleaned, _ = clean(labels)
    assert cleaned[30, 25, 25] == 1
    assert cleaned[30, 25, 74] == 0


def test_one_kidney_lies_wholly_on_its_side_of_the_plane(clean, labels):
    labels[:, :, 50:] = 0
    _, plane = clean(labels)
    assert plane > 2 * SHAPE[2]


def test_a_horseshoe_is_cut_at_the_midline(clean, labels, make):
    labels[make.ellipsoid(SHAPE, (2, 2, 2), (100, 50, 30), (60, 12, 12))] = 1
    cleaned, plane = clean(labels)
    assert plane == MIDLINE
    assert cleaned[15, 25, 50] == 1


def test_nothing_stays_nothing(clean):
    cleaned, plane = clean(np.zeros(SHAPE, np.uint8))
    assert not cleaned.any()
    assert plane == MIDLINE


def test_relabel_makes_a_class_lead_also_in_a_tie():
    logits = np.zeros((3, 1, 1, 2), np.float32)
    labels = argmax_labels(logits)
    relabel(logits, labels, np.array([[[True, False]]]), 2)
    np.testing.assert_array_equal(argmax_labels(logits), [[[2, 0]]])
    np.testing.assert_array_equal(labels, [[[2, 0]]])


def test_a_mass_that_is_given_back_leaves_no_rind_of_a_cyst_where_organ_and_background_meet(exact_package):
    # Classes: background, kidney, tumor, cyst. The doubtful tumor, then the kidney beside it; a cyst is second in both.
    logits = np.array([[5.0, -3.0], [-1.0, 5.0], [6.0, -3.0], [4.9, 4.0]], np.float32).reshape(4, 1, 1, 2)
    labels = argmax_labels(logits)
    mask = labels == 2
    give_back(logits, labels, mask, make_roles(exact_package))
    np.testing.assert_array_equal(labels, [[[0, 1]]])
    for share in np.linspace(0, 1, 21):
        between = (1 - share) * logits[..., :1] + share * logits[..., 1:]
        assert argmax_labels(between.astype(np.float32)).item() in (0, 1)
    np.testing.assert_array_equal(logits[:, 0, 0, 1], np.array([-3, 5, -3, 4], np.float32))
