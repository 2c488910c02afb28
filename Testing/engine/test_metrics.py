"""Metrics against numbers worked out by hand, against MONAI, and in the cases where there is nothing to compare."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from hlfd.errors import GeometryError, UsageError
from hlfd.io import read_label_map
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS, PHANTOM_LABELS, Label
from hlfd.metrics import evaluate, parse_group
from hlfd.metrics.evaluate import compare
from hlfd.metrics.lesions import detect
from hlfd.metrics.overlap import Counts, dice, relative_volume_difference, slice_dice, volume_overlap_error
from hlfd.metrics.surface import hausdorff_95, normalised_surface_dice, surface_distances, surface_of
from hlfd.volume import LabelMap


def _mask(shape, *boxes):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(a, b) for a, b in box)] = True
    return mask


def _map(array, labels=(), affine=None):
    return LabelMap(np.asarray(array, np.uint8), np.eye(4) if affine is None else affine, labels)


@pytest.mark.parametrize(
    ("pred", "ref", "both", "expected"),
    [
        (10, 10, 10, (1.0, 0.0, 0.0)),
        (10, 10, 0, (0.0, 1.0, 0.0)),
        (6, 4, 3, (0.6, 1 - 3 / 7, 0.5)),
        (2, 8, 2, (0.4, 0.75, -0.75)),
        (0, 5, 0, (0.0, 1.0, -1.0)),
        (5, 0, 0, (0.0, 1.0, None)),
        (0, 0, 0, (1.0, 0.0, 0.0)),
    ],
)
def test_overlap_numbers(pred, ref, both, expected):
    counts = Counts(pred, ref, both)
    found = (dice(counts), volume_overlap_error(counts), relative_volume_difference(counts))
    assert found == pytest.approx(expected)


def test_surface_of_a_cube_is_all_but_its_core():
    cube = _mask((7, 7, 7), [(1, 6), (1, 6), (1, 6)])
    assert surface_of(cube).sum() == 5**3 - 3**3
    assert surface_of(np.ones((4, 4, 4), bool)).sum() == 4**3 - 2**3


@pytest.mark.parametrize(
    ("shift", "spacing", "nsd_1", "nsd_2", "hd95"),
    [
        # two single voxels a known distance apart, so that every surface distance is that distance
        ((0, 0, 1), (0.8, 1.0, 5.0), 1.0, 1.0, 0.8),
        ((0, 1, 0), (0.8, 1.5, 5.0), 0.0, 1.0, 1.5),
        ((1, 0, 0), (0.8, 1.0, 5.0), 0.0, 0.0, 5.0),
        ((0, 3, 4), (1.0, 1.0, 1.0), 0.0, 0.0, 5.0),
        ((0, 0, 2), (1.0, 1.0, 1.0), 0.0, 1.0, 2.0),
    ],
)
def test_surface_distances_of_two_voxels(shift, spacing, nsd_1, nsd_2, hd95):
    pred, ref = np.zeros((2, 9, 9, 9), bool)
    ref[2, 2, 2] = True
    pred[tuple(np.add((2, 2, 2), shift))] = True
    distances = surface_distances(pred, ref, spacing)
    assert normalised_surface_dice(distances, 1.0) == nsd_1
    assert normalised_surface_dice(distances, 2.0) == nsd_2
    assert hausdorff_95(distances) == pytest.approx(hd95, rel=1e-5)


def test_parallel_plates_have_known_surface_dice():
    ref = _mask((1, 4, 20), [(0, 1), (0, 4), (0, 10)])
    pred = _mask((1, 4, 20), [(0, 1), (0, 4), (0, 12)])
    # one slice thick: every voxel is surface; 40 + 48 voxels, of which the pred columns 10 and 11 are 1 and 2 mm away
    distances = surface_distances(pred, ref, (1.0, 1.0, 1.0))
    assert normalised_surface_dice(distances, 1.0) == pytest.approx((40 + 44) / 88)
    assert normalised_surface_dice(distances, 2.0) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_surfaces_agree_with_monai(seed):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(2, 24, 30, 28)), (0, 3, 3, 3))
    pred, ref = field[0] > 0.02, field[0] + 0.4 * field[1] > 0.02
    spacing = (0.8, 0.9, 2.5)
    distances = surface_distances(pred, ref, spacing)
    tensors = [torch.from_numpy(mask[None, None].astype(np.uint8)) for mask in (pred, ref)]
    kji = spacing[::-1]
    for tolerance in (1.0, 2.0):
        expected = metrics.compute_surface_dice(*tensors, [tolerance], include_background=True, spacing=kji)
        assert normalised_surface_dice(distances, tolerance) == pytest.approx(float(expected), abs=1e-6)
    expected = metrics.compute_hausdorff_distance(*tensors, include_background=True, percentile=95, spacing=kji)
    assert hausdorff_95(distances) == pytest.approx(float(expected), rel=1e-4)
    assert dice(Counts.of(pred, ref)) == pytest.approx(float(metrics.compute_dice(*tensors)), abs=1e-6)


def test_lesions_are_counted_by_hand():
    ref = _mask((12, 12, 30), [(0, 4), (0, 4), (0, 4)], [(6, 8), (6, 8), (6, 8)], [(0, 12), (0, 12), (20, 30)])
    # half of the first, nothing of the second, a corner (IoU below 0.1) of the third, and one false lesion
    pred = _mask((12, 12, 30), [(0, 4), (0, 4), (0, 2)], [(0, 6), (0, 12), (29, 30)], [(9, 11), (9, 11), (9, 11)])
    found = detect(pred, ref, voxel_ml=0.02)
    assert (found.reference, found.predicted, found.found, found.true) == (3, 3, 1, 1)
    assert found.sensitivity == pytest.approx(1 / 3)
    assert found.precision == pytest.approx(1 / 3)
    assert found.f1 == pytest.approx(1 / 3)
    # 64 voxels are 1.28 ml, 8 are 0.16 ml, 1440 are 28.8 ml
    assert (found.reference_above_1ml, found.found_above_1ml) == (2, 1)
    assert found.sensitivity_above_1ml == 0.5


@pytest.mark.parametrize(
    ("has_pred", "has_ref", "rates"),
    [(False, False, (1.0, 1.0, 1.0)), (True, False, (None, 0.0, 0.0)), (False, True, (0.0, None, 0.0))],
)
def test_lesion_rates_without_lesions(has_pred, has_ref, rates):
    one, none = _mask((3, 3, 3), [(1, 2), (1, 2), (1, 2)]), np.zeros((3, 3, 3), bool)
    found = detect(one if has_pred else none, one if has_ref else none, 1.0)
    assert (found.sensitivity, found.precision, found.f1) == rates


def test_diagonal_neighbours_are_one_lesion():
    mask = _mask((4, 4, 4), [(0, 2), (0, 2), (0, 2)], [(2, 4), (2, 4), (2, 4)])
    assert detect(mask, mask, 1.0).reference == 1


def test_slice_dice_averages_over_reference_slices_only():
    ref = _mask((4, 4, 4), [(0, 2), (0, 4), (0, 4)])
    pred = _mask((4, 4, 4), [(0, 1), (0, 4), (0, 4)], [(1, 2), (0, 4), (0, 2)], [(3, 4), (0, 4), (0, 4)])
    assert slice_dice(pred, ref) == pytest.approx((1 + 2 * 8 / 24) / 2)
    assert slice_dice(pred, ref & False) is None


def test_empty_against_empty_agrees_and_says_so():
    grid = _map(np.zeros((3, 3, 3)))
    none = np.zeros((3, 3, 3), bool)
    values = compare(none, none, grid, lesions=True)
    assert values["both_empty"] is True
    assert (values["dice"], values["nsd_1mm"], values["hd95_mm"], values["voe"]) == (1.0, 1.0, 0.0, 0.0)
    assert values["slice_dice"] is None
    one = _mask((3, 3, 3), [(1, 2), (1, 2), (1, 2)])
    missed = compare(none, one, grid)
    assert (missed["dice"], missed["nsd_2mm"], missed["hd95_mm"], missed["rvd"]) == (0.0, 0.0, None, -1.0)
    assert missed["both_empty"] is False


def test_volumes_are_in_ml():
    grid = _map(np.zeros((10, 10, 10)), affine=np.diag([0.5, 0.5, 4.0, 1.0]))
    values = compare(_mask((10,) * 3, [(0, 10)] * 3), _mask((10,) * 3, [(0, 5), (0, 10), (0, 10)]), grid)
    assert (values["pred_ml"], values["ref_ml"], values["volume_error_ml"]) == pytest.approx((1.0, 0.5, 0.5))
    assert values["abs_rvd"] == pytest.approx(1.0)


def _kidneys():
    array = np.zeros((6, 10, 12), np.uint8)
    array[1:5, 1:6, 1:4] = 1
    array[1:5, 1:6, 8:11] = 4
    array[2, 2:4, 2] = 2
    array[3, 3, 9] = 3
    return array


def test_our_kidney_table_meets_a_kits_reference():
    ours = _map(_kidneys(), KIDNEY_LABELS)
    kits = _map(
        np.where(_kidneys() == 4, 1, _kidneys()),
        (Label(1, "label 1", (1, 1, 1)), Label(2, "label 2", (2, 2, 2)), Label(3, "label 3", (3, 3, 3))),
    )
    groups = evaluate(ours, kits)["groups"]
    assert list(groups) == ["kidney_and_masses", "masses", "tumor"]
    assert groups["kidney_and_masses"]["pred_values"] == [1, 2, 3, 4]
    assert groups["kidney_and_masses"]["ref_values"] == [1, 2, 3]
    assert groups["masses"]["ref_values"] == [2, 3]
    assert groups["tumor"]["pred_values"] == [2]
    assert all(group["dice"] == 1.0 for group in groups.values())
    assert groups["tumor"]["lesions"]["sensitivity"] == 1.0
    assert "lesions" not in groups["kidney_and_masses"]
    json.dumps(groups, allow_nan=False)


def test_a_wrong_class_inside_the_kidney_costs_only_its_own_group():
    pred = _kidneys()
    pred[2, 2:4, 2] = 1
    groups = evaluate(_map(pred, KIDNEY_LABELS), _map(_kidneys(), KIDNEY_LABELS))["groups"]
    assert groups["kidney_and_masses"]["dice"] == 1.0
    assert groups["tumor"]["dice"] == 0.0
    assert groups["masses"]["dice"] == pytest.approx(2 / 4)


def test_liver_tables_meet_lits_values():
    array = np.zeros((4, 6, 6), np.uint8)
    array[1:3, 1:5, 1:5] = 5
    array[1, 2, 2] = 6
    lits = _map(np.where(array > 0, array - 4, 0), (Label(1, "label 1", (1, 1, 1)), Label(2, "label 2", (2, 2, 2))))
    groups = evaluate(_map(array, LIVER_LABELS), lits)["groups"]
    assert list(groups) == ["liver_and_tumor", "liver_tumor"]
    assert groups["liver_and_tumor"]["dice"] == groups["liver_tumor"]["dice"] == 1.0


def test_structures_that_only_one_table_names_are_left_out():
    groups = evaluate(_map(_kidneys(), KIDNEY_LABELS), _map(_kidneys(), PHANTOM_LABELS))["groups"]
    assert list(groups) == ["kidney_and_masses", "masses", "tumor"]


def test_an_empty_prediction_without_a_table_scores_zero():
    kits = _map(_kidneys(), KIDNEY_LABELS)
    assert evaluate(_map(_kidneys() * 0), kits)["groups"]["tumor"]["dice"] == 0.0


def test_tables_that_share_nothing_are_refused():
    spleen = _map(_kidneys() > 0, (Label(1, "spleen", (1, 2, 3)),))
    with pytest.raises(UsageError, match="--group"):
        evaluate(_map(_kidneys(), KIDNEY_LABELS), spleen)


def test_groups_can_be_named():
    name, values = parse_group("kidney=1,2,3,4:2,3")
    assert (name, values) == ("kidney", ((1, 2, 3, 4), (2, 3)))
    assert parse_group("liver=1") == ("liver", ((1,), (1,)))
    organs = np.where(_kidneys() == 0, 0, np.where(_kidneys() == 4, 3, 2))
    organs[0, 0, 0] = 1
    result = evaluate(_map(_kidneys(), KIDNEY_LABELS), _map(organs), {name: values})
    assert result["groups"]["kidney"]["dice"] == 1.0
    for text in ("kidney", "=1", "a=x", "a=0", "a=1:256"):
        with pytest.raises(UsageError):
            parse_group(text)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_permuted_and_flipped_grids_are_brought_together(make_affine, axes, flips):
    affine = make_affine((0.7, 0.9, 3.0), (1, 1, 2), 20.0, origin=(-100, 50, 30))
    ref = _map(_kidneys(), KIDNEY_LABELS, affine)
    array = _kidneys().transpose(axes)
    columns = np.eye(4)
    for new, old in enumerate(axes):
        columns[:3, 2 - new] = affine[:3, 2 - old]
    columns[:3, 3] = affine[:3, 3]
    for axis in flips:
        array = np.flip(array, axis)
        columns[:3, 3] += columns[:3, 2 - axis] * (array.shape[axis] - 1)
        columns[:3, 2 - axis] *= -1
    pred = _map(np.ascontiguousarray(array), KIDNEY_LABELS, columns)
    assert all(group["dice"] == 1.0 for group in evaluate(pred, ref)["groups"].values())


def test_a_cropped_map_is_padded_with_background():
    ref = _map(_kidneys(), KIDNEY_LABELS)
    affine = np.eye(4)
    affine[:3, 3] = (1, 1, 1)
    cropped = _map(_kidneys()[1:5, 1:7, 1:], KIDNEY_LABELS, affine)
    for pair in ((ref, cropped), (cropped, ref)):
        assert evaluate(*pair)["groups"]["kidney_and_masses"]["dice"] == 1.0


@pytest.mark.parametrize("affine", [np.diag([1.1, 1, 1, 1]), np.array([[1, 0, 0, 0.5], *np.eye(4)[1:]])])
def test_other_grids_are_refused(affine):
    with pytest.raises(GeometryError, match="do not share a grid"):
        evaluate(_map(_kidneys(), KIDNEY_LABELS, affine), _map(_kidneys(), KIDNEY_LABELS))


def test_slice_dice_runs_over_axial_slices_whatever_the_axis_order():
    affine = np.zeros((4, 4))
    affine[2, 0] = affine[0, 1] = affine[1, 2] = affine[3, 3] = 1  # i runs to superior
    ref = np.zeros((4, 4, 6), np.uint8)
    ref[:, :, 1] = ref[:, :2, 2] = 2
    pred = ref.copy()
    pred[:, :, 2] = 0
    groups = evaluate(_map(pred, KIDNEY_LABELS, affine), _map(ref, KIDNEY_LABELS, affine))["groups"]
    assert groups["tumor"]["slice_dice"] == pytest.approx(0.5)


def test_a_real_case_is_evaluated_within_seconds(shared_data):
    ref = read_label_map(shared_data / "kits19" / "case_00004.nii.gz")
    pred = LabelMap(np.roll(ref.array, 1, axis=1), ref.affine, ref.labels)
    start = time.process_time()
    groups = evaluate(pred, ref)["groups"]
    assert time.process_time() - start < 10
    assert 0.9 < groups["kidney_and_masses"]["dice"] < 1
    assert groups["kidney_and_masses"]["nsd_1mm"] > 0.9
    assert groups["tumor"]["ref_ml"] == pytest.approx(18.85, abs=0.01)


def test_what_is_false_is_measured_in_ml_and_by_its_farthest_voxel():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    reference, predicted = np.zeros((20, 20, 20), np.uint8), np.zeros((20, 20, 20), np.uint8)
    reference[5:10, 5:10, 5:10] = predicted[5:10, 5:10, 5:10] = 1
    predicted[15, 7, 7] = 1  # 6 slices of 2 mm above
    values = compare(predicted > 0, reference > 0, _map(reference, affine=affine))
    assert values["false_ml"] == pytest.approx(0.002)
    assert values["farthest_false_mm"] == pytest.approx(12.0)
    same = compare(reference > 0, reference > 0, _map(reference, affine=affine))
    assert same["false_ml"] == same["farthest_false_mm"] == 0.0
