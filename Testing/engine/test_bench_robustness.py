"""The robustness table: scans that are what they are called, scores worked out by hand, and runs that go on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hlfd.bench.robustness import RobustnessSettings, run_robustness
from hlfd.bench.robustness_conditions import BASE, CONDITIONS, Patients, conditions_named, scan
from hlfd.bench.robustness_score import score
from hlfd.bench.robustness_table import markdown, rows, summarise
from hlfd.errors import ConfigError, UsageError
from hlfd.events import Progress
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS
from hlfd.models.package import load_package
from hlfd.phantom.variation import Variation
from hlfd.volume import LabelMap

SMALL = Patients(shapes="procedural", spacing_mm=5.0, shape=(52, 60, 80))
LEFT, TUMOR, CYST, RIGHT = (label.value for label in KIDNEY_LABELS)
AFFINE = np.array([[5.0, 0, 0, -97.5], [0, 5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def patient():
    return SMALL.build(7, [Variation()])[Variation()]


def named(name):
    return conditions_named([name])[0]


def test_every_condition_has_its_own_name_and_the_first_is_the_base():
    names = [condition.name for condition in CONDITIONS]
    assert len(set(names)) == len(names)
    assert names[0] == BASE


def test_an_unknown_condition_names_the_nearest():
    with pytest.raises(ConfigError, match="native"):
        conditions_named(["nativ"])


def test_unknown_shapes_name_the_nearest():
    with pytest.raises(ConfigError, match="kits23"):
        Patients(shapes="kits24")


def test_slices_are_as_thick_as_the_condition_says_and_cover_the_same_body(patient):
    thick, _ = scan(patient, replace(named("slices 5"), slice_mm=10.0))
    usual, truth = scan(patient, replace(named("base"), slice_mm=5.0))
    assert thick.spacing == pytest.approx((5, 5, 10))
    assert usual.shape == patient.tissue.shape
    assert truth.same_grid(usual)
    middle = [(volume.affine @ [0, 0, (volume.shape[0] - 1) / 2, 1])[2] for volume in (thick, usual)]
    assert middle[0] == pytest.approx(middle[1], abs=1e-6)


def test_the_noise_is_that_of_the_condition(patient):
    quiet, loud = (scan(patient, replace(named(name), slice_mm=5.0))[0] for name in ("base", "noise 45"))
    difference = loud.array.astype(float) - quiet.array
    assert difference[quiet.array > -200].std() == pytest.approx(35, abs=4)  # one noise pattern, at 10 and at 45 HU


def test_the_upper_half_of_the_kidneys_is_cut_off(patient):
    whole, cut = (scan(patient, replace(named(name), slice_mm=5.0))[1] for name in ("base", "upper half missing"))
    left = [np.isin(truth.array, (LEFT, RIGHT)).sum() for truth in (whole, cut)]
    assert left[1] / left[0] == pytest.approx(0.5, abs=0.15)
    np.testing.assert_array_equal(cut.array, whole.array[: len(cut.array)])


def test_the_narrow_field_of_view_is_centred_on_the_spine(patient):
    narrow, truth = scan(patient, replace(named("narrow"), slice_mm=5.0))
    assert narrow.shape[1:] == (50, 50)
    assert (narrow.affine @ [24.5, 0, 0, 1])[0] == pytest.approx(0, abs=5)
    assert {LEFT, RIGHT} <= set(np.unique(truth.array))


@pytest.fixture
def truth():
    """Two kidneys of 27 ml on both sides of x = 0, a tumor of 3.4 ml and one of 0.5 ml in the left one."""
    array = np.zeros((20, 20, 40), np.uint8)
    array[4:10, 4:10, 4:10], array[4:10, 4:10, 30:36] = LEFT, RIGHT
    array[4:7, 4:7, 4:7] = TUMOR
    array[8:10, 8:10, 8:9] = TUMOR
    return LabelMap(array, AFFINE, KIDNEY_LABELS)


def test_a_perfect_result_has_no_failure(truth):
    found = score(truth, truth)
    assert found["dice"] == {"kidney_and_masses": 1.0, "masses": 1.0, "tumor": 1.0}
    assert (found["tumors_above_1ml"], found["found_above_1ml"]) == (1, 1)
    assert (found["tumors_below_1ml"], found["found_below_1ml"]) == (1, 1)
    assert found["kidneys"] == {"left": 1.0, "right": 1.0}
    assert found["false_organs_ml"] == found["false_tumors_ml"] == []


def test_lost_kidneys_false_organs_and_false_tumors_are_counted(truth):
    array = truth.array.copy()
    array[:, :, 20:] = 0  # the right kidney is lost
    array[14:18, 14:18, 30:34] = TUMOR  # 8 ml of tumor and organ where there is none
    array[4:10, 12:14, 4:10] = LEFT  # beside the left kidney, yet no part of it: 9 ml
    found = score(LabelMap(array, AFFINE, KIDNEY_LABELS), truth)
    assert found["kidneys"]["right"] == 0
    assert found["kidneys"]["left"] > 0.8
    assert sorted(found["false_organs_ml"]) == pytest.approx([8.0, 9.0])
    assert found["false_tumors_ml"] == pytest.approx([8.0])
    summary = summarise({"native": {"case": found}}, {"native": "native phase"})["native"]
    assert (summary["lost_kidneys"], summary["kidneys"]) == (1, 2)
    assert (summary["false_organs"], summary["false_tumors"]) == (2, 1)
    assert summary["failed_cases"] == ["case"]


def test_what_the_truth_lacks_has_no_dice(truth):
    array = np.where(truth.array == TUMOR, LEFT, truth.array)
    found = score(truth, LabelMap(array.astype(np.uint8), AFFINE, KIDNEY_LABELS))
    assert found["dice"]["tumor"] is None
    assert found["false_tumors_ml"] == pytest.approx([3.375])


def test_a_model_of_another_organ_is_refused(truth):
    other = LabelMap(truth.array, AFFINE, LIVER_LABELS)
    with pytest.raises(UsageError, match="kidney"):
        score(other, truth)


def test_the_difference_to_the_base_is_one_of_pairs(truth):
    def with_tumor(dice):
        found = score(truth, truth)
        return {**found, "dice": {**found["dice"], "tumor": dice}}

    scores = {
        BASE: {"a": with_tumor(0.9), "b": with_tumor(0.5), "c": with_tumor(0.7)},
        "native": {"a": with_tumor(0.8), "b": with_tumor(0.4), "c": with_tumor(None)},
    }
    summary = summarise(scores, {BASE: "base", "native": "native phase"})
    difference = summary["native"]["difference"]["tumor"]
    assert difference == pytest.approx({"cases": 2, "mean": -0.1, "low": -0.1, "high": -0.1})
    assert summary[BASE]["dice"]["tumor"] == pytest.approx(0.7)


@pytest.fixture(scope="module")
def package(models_folder):
    return load_package(models_folder / "exact" / "1.0.0")


def test_a_run_writes_all_numbers_and_does_not_measure_twice(package, tmp_path):
    settings = RobustnessSettings((1, 2), conditions_named(["base", "native"]), SMALL, threads=1)
    events = []
    first = run_robustness(package, tmp_path, settings, events.append)
    assert set(first["conditions"]) == {"base", "native"}
    assert first["conditions"]["native"]["cases"] == 2
    assert first["conditions"]["native"]["difference"]["kidney_and_masses"]["cases"] == 2
    assert json.loads((tmp_path / "results.json").read_text())["scores"] == json.loads(json.dumps(first["scores"]))
    assert (tmp_path / "table.md").read_text() == markdown(first)
    assert len(rows(first)) == 3
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3, 4]
    kept = (tmp_path / "native" / "case_00002.json").stat().st_mtime_ns
    (tmp_path / "native" / "case_00001.json").unlink()
    again = run_robustness(package, tmp_path, settings)
    assert (tmp_path / "native" / "case_00002.json").stat().st_mtime_ns == kept
    assert again["scores"]["native"]["case_00001"]["dice"] == first["scores"]["native"]["case_00001"]["dice"]


def test_results_of_another_scan_are_measured_again(package, tmp_path):
    settings = RobustnessSettings((1,), conditions_named(["base"]), SMALL, threads=1)
    run_robustness(package, tmp_path, settings)
    path = tmp_path / "base" / "case_00001.json"
    kept = json.loads(path.read_text())
    kept["about"]["condition"]["noise"] = 99.0
    kept["scores"]["tumor_ml"] = -1.0
    path.write_text(json.dumps(kept))
    assert run_robustness(package, tmp_path, settings)["scores"]["base"]["case_00001"]["tumor_ml"] >= 0
