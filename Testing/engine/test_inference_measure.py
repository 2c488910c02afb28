import numpy as np
import pytest

from hlfd.inference.diameters import axial_diameters, corners, diameter, to_ras
from hlfd.inference.measure import Image, find_lesions, measure_structure
from hlfd.inference.roles import make_roles
from hlfd.labels import KIDNEY_LEFT, KIDNEY_TUMOR

SPACING = (0.8, 0.8, 1.5)
AFFINE = np.diag([*SPACING, 1.0])


def test_a_ball_has_its_diameter_and_volume(make):
    mask = make.ellipsoid((50, 90, 90), SPACING, (36, 36, 37), (20, 20, 20))
    assert diameter(to_ras(corners(mask), AFFINE), AFFINE) == pytest.approx(40, abs=1.5)
    structure = measure_structure(Image(np.zeros(mask.shape, np.int16), mask * np.uint8(1), AFFINE), KIDNEY_LEFT, ())
    assert structure.volume_ml == pytest.approx(4 / 3 * np.pi * 8, rel=0.01)
    assert structure.voxels == mask.sum()


def test_the_longest_diameter_is_that_of_all_pairs_of_voxels(make):
    rng = np.random.default_rng(0)
    mask = rng.random((9, 14, 15)) > 0.97
    points = to_ras(np.argwhere(mask), AFFINE)
    longest = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)).max()
    found = diameter(to_ras(corners(mask), AFFINE), AFFINE)
    assert longest < found <= longest + max(SPACING)


def test_axial_diameters_of_an_ellipse(make):
    mask = make.ellipsoid((20, 90, 90), SPACING, (36, 36, 15), (28, 14, 9))
    long, short = axial_diameters(mask, AFFINE)
    assert long == pytest.approx(56, abs=1.2)
    assert short == pytest.approx(28, abs=1.2)


def test_a_turned_ellipse_has_the_same_axial_diameters():
    j, i = np.mgrid[0:90, 0:90] * 0.8 - 36
    along, across = 0.8 * i + 0.6 * j, 0.8 * j - 0.6 * i
    long, short = axial_diameters(((along / 28) ** 2 + (across / 14) ** 2 <= 1)[None], AFFINE)
    assert long == pytest.approx(56, abs=1.2)
    assert short == pytest.approx(28, abs=1.6)


def test_a_thread_longer_than_the_largest_slice_is_the_longest_diameter():
    mask = np.zeros((4, 60, 60), bool)
    mask[0, 10:40, 10:40] = True
    mask[2, 5, 2:58] = True  # 56 voxels long and one wide; slices 1 and 3 are empty
    assert axial_diameters(mask, AFFINE) == pytest.approx((56 * SPACING[0], SPACING[1]))


def test_a_single_voxel_has_the_size_of_a_voxel():
    mask = np.ones((1, 1, 1), bool)
    assert diameter(to_ras(corners(mask), AFFINE), AFFINE) == 1.5
    assert axial_diameters(mask, AFFINE) == pytest.approx((0.8, 0.8))


def test_an_absent_structure_has_no_diameter_and_no_hu():
    image = Image(np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 2), np.uint8), AFFINE)
    structure = measure_structure(image, KIDNEY_LEFT, ())
    assert (structure.voxels, structure.volume_ml) == (0, 0.0)
    assert structure.longest_diameter_mm is None
    assert structure.hu_mean is None


@pytest.fixture
def image(make):
    labels = np.zeros((40, 60, 60), np.uint8)
    labels[make.ellipsoid(labels.shape, (1, 1, 1), (30, 30, 20), (25, 25, 18))] = 1
    labels[make.ellipsoid(labels.shape, (1, 1, 1), (20, 30, 20), (8, 8, 8))] = 2
    labels[20, 30, 45] = 2
    hu = np.where(labels == 2, 80, 150).astype(np.int16)
    affine = np.eye(4)
    affine[:3, 3] = (100, 200, 300)
    return Image(hu, labels, affine)


def test_lesions_carry_size_hu_side_and_place(image, exact_package):
    side = lambda index: "left" if index[2] < 30 else "right"  # noqa: E731
    ((lesion, points),) = find_lesions(image, make_roles(exact_package), side, 0.05, lambda label, points: points)
    assert (lesion.number, lesion.name, lesion.side) == (1, "kidney tumor", "left")
    assert lesion.volume_ml == pytest.approx(2.1, abs=0.15)
    assert lesion.centroid_ras == pytest.approx((120, 230, 320), abs=0.01)
    assert (lesion.hu_mean, lesion.hu_sd) == (80, 0)
    assert {int(image.labels[tuple(point)]) for point in points} == {KIDNEY_TUMOR.value}
    tumor = measure_structure(image, KIDNEY_TUMOR, (lesion,))
    assert tumor.longest_diameter_mm == lesion.longest_diameter_mm


def test_a_lesion_below_the_smallest_volume_is_given_back_to_the_kidney(image, exact_package):
    find_lesions(image, make_roles(exact_package), lambda index: "left", 0.05, lambda label, points: None)
    assert image.labels[20, 30, 45] == 1


def test_all_lesions_are_kept_when_no_smallest_volume_is_set(image, exact_package):
    roles = make_roles(exact_package)
    lesions = find_lesions(image, roles, lambda index: "left", 0.0, lambda label, points: None)
    assert [round(lesion.volume_ml, 3) for lesion, _ in lesions][1] == 0.001
    assert [lesion.number for lesion, _ in lesions] == [1, 2]


def test_a_doubtful_lesion_is_given_back_however_large(image, exact_package):
    asked = []

    def doubtful(evidence, volume_ml) -> bool:
        asked.append((evidence, round(volume_ml, 1)))
        return True

    arguments = (image, make_roles(exact_package), lambda index: "left", 0.05, lambda label, points: "known")
    assert find_lesions(*arguments, doubtful) == []
    assert asked == [("known", 2.1)]
    assert not (image.labels == KIDNEY_TUMOR.value).any()
