"""The confidence of a package is fitted on judged lesions of simulated scans, and keeps its word on others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from hlfd.config import SegmentSettings
from hlfd.data.pool import PoolSettings
from hlfd.errors import ConfigError, ModelError
from hlfd.inference.quality_lesions import LesionEvidence
from hlfd.inference.segmenter import Segmenter
from hlfd.labels import KIDNEY_LABELS
from hlfd.models.amend import add_quality, limit_confidence
from hlfd.models.package import load_package
from hlfd.training.quality import SLACK, judge, keep_quality, limits, quality_recipe
from hlfd.training.quality_fit import JudgedLesion, area_under_curve, fit_confidence, reliability
from hlfd.training.recipe import read_recipe
from hlfd.volume import LabelMap

PROJECT = Path(__file__).resolve().parents[2]


def drawn(count: int, seed: int) -> list[JudgedLesion]:
    """Lesions that are true as often as a known logistic of their certainty and size says."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform([0.3, 0.3, -0.3], [1, 1, 1], (count, 3))
    chance = 1 / (1 + np.exp(-(-7 + 10 * rows[:, 0] + 2 * rows[:, 2])))
    return [
        JudgedLesion(LesionEvidence(*map(float, row)), bool(u < p))
        for row, p, u in zip(rows, chance, rng.random(count))
    ]


def test_the_fit_finds_the_chance_that_a_lesion_is_true():
    model = fit_confidence(drawn(4000, 0))
    assert model.weights["certainty"] == pytest.approx(10, abs=1.0)
    assert model.weights["size"] == pytest.approx(2, abs=0.5)
    assert model.weights["lesion"] == pytest.approx(0, abs=0.6)


def test_a_fitted_confidence_is_the_share_of_true_lesions_among_others():
    told = reliability(fit_confidence(drawn(2000, 0)), drawn(2000, 1))
    assert told["calibration_error"] < 0.03
    assert told["auc"] > 0.85
    assert sum(part["lesions"] for part in told["bins"]) == told["lesions"] == 2000


def test_too_few_lesions_of_a_kind_give_no_confidence():
    assert fit_confidence([replace(lesion, true=True) for lesion in drawn(50, 0)]) is None
    assert fit_confidence([]) is None


def test_the_area_under_the_curve_counts_ties_half():
    assert area_under_curve(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == 0.875
    assert area_under_curve(np.array([0.1]), np.array([True])) is None


def test_lesions_are_judged_by_overlap_with_one_of_their_kind(exact_package, patient):
    volume, masks = patient
    truth = np.zeros(volume.shape, np.uint8)
    truth[masks["kidney tumor"]] = 2
    truth[masks["kidney cyst"]] = 2  # what is called a cyst is a tumor in truth
    examined = Segmenter(exact_package, SegmentSettings(backend="openvino")).examine(volume)
    judged = judge(examined, LabelMap(truth, volume.affine, KIDNEY_LABELS))
    by_evidence = {id(lesion.evidence): lesion.true for lesion in judged}
    told = {found.name: by_evidence[id(e)] for found, e in zip(examined.result.lesions, examined.evidence)}
    assert told == {"kidney tumor": True, "kidney cyst": False}


def test_limits_leave_room_beyond_the_simulated_scans():
    scans = [
        {"image": {"soft": soft, "tissue": tissue}, "locator": {}, "organs": [{"refined": 0.95}]}
        for soft, tissue in ((0.6, 40.0), (0.7, 90.0))
    ]
    ranges = limits(scans)
    assert ranges["soft"] == [pytest.approx(0.6 - SLACK["soft"]), None]
    assert ranges["tissue"] == [40 - SLACK["tissue"], 90 + SLACK["tissue"]]
    assert ranges["refined"] == [pytest.approx(0.95 - SLACK["refined"]), None]
    assert "entropy" not in ranges


@pytest.mark.parametrize(("located", "least"), [((0.95, 0.97), 0.85), ((0.7, 0.9), 0.5)])
def test_a_locator_that_is_always_sure_is_given_less_room(located, least):
    scans = [{"image": {}, "locator": {}, "organs": [{"located": value} for value in located]}]
    assert limits(scans)["located"] == [pytest.approx(least), None]


@pytest.fixture
def recipe(models_folder, tmp_path):
    """The shipped recipe with coarse drawn patients, for a package that is there already."""
    folder = tmp_path / "run"
    shutil.copytree(models_folder / "exact", folder / "package" / "exact")
    anatomy = {"spacing_mm": 6.0, "shape": (24, 40, 48), "centre_z": 0.0, "cysts": 2}
    patients = PoolSettings((4, 5), shapes="procedural", anatomy=anatomy)
    shipped = read_recipe(PROJECT / "configs/kidney/kidney.yaml")
    named = replace(shipped, folder=folder, name="exact", version="1.0.0", validation=patients)
    return replace(named, quality_patients=1)


def test_the_stage_writes_limits_into_the_package_and_goes_on_from_what_is_there(recipe):
    quality = quality_recipe(recipe)
    package = load_package(recipe.folder / "package" / "exact" / "1.0.0")
    assert package.metadata["quality"] == quality
    assert (quality["scans"], quality["min_confidence"]) == (4, recipe.min_confidence)
    assert {"soft", "bright", "tissue", "neighbours", "entropy"} <= set(quality["limits"])
    records = sorted((recipe.folder / "quality").glob("case_*.json"))
    assert [path.name for path in records] == ["case_00004_00.json", "case_00005_00.json"]
    stamps = [path.stat().st_mtime_ns for path in records]
    assert quality_recipe(recipe) == quality
    assert [path.stat().st_mtime_ns for path in records] == stamps


def test_a_package_that_is_written_again_keeps_the_quality_of_its_weights(recipe, models_folder):
    quality_recipe(recipe)
    folder = recipe.folder / "package" / "exact" / "1.0.0"
    shutil.rmtree(folder)
    shutil.copytree(models_folder / "exact" / "1.0.0", folder)
    keep_quality(replace(recipe, min_confidence=0.3))
    quality = load_package(folder).metadata["quality"]
    assert "limits" in quality
    assert quality["min_confidence"] == 0.3  # of the recipe as it is now
    kept = recipe.folder / "quality" / "quality.json"
    kept.write_text(kept.read_text(encoding="utf-8").replace('"refiner.safetensors": "', '"refiner.safetensors": "0'))
    shutil.rmtree(folder)
    shutil.copytree(models_folder / "exact" / "1.0.0", folder)
    keep_quality(recipe)  # of other weights
    assert "quality" not in load_package(folder).metadata


def test_quality_is_added_to_a_package_that_stays_valid(models_folder, tmp_path):
    folder = tmp_path / "exact" / "1.0.0"
    shutil.copytree(models_folder / "exact" / "1.0.0", folder)
    held_out = {"lesions": 9, "auc": 0.9, "calibration_error": 0.04, "bins": [{"from": 0.9, "lesions": 9, "true": 1.0}]}
    confidence = {"bias": 0.5, "weights": {"size": 1.0}, "held_out": held_out}
    changed = add_quality(load_package(folder), {"scans": 4, "confidence": confidence, "limits": {"soft": [0.2, None]}})
    assert changed.metadata["quality"]["confidence"]["bias"] == 0.5
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| 0.9 to 1 | 9 | 1.0 |" in card
    again = load_package(folder)  # verifies every checksum
    assert Segmenter(again, SegmentSettings(backend="openvino")).quality.limits.ranges == {"soft": (0.2, None)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exact"]


def test_a_version_with_another_limit_of_confidence_keeps_all_else(models_folder, tmp_path):
    folder = tmp_path / "exact" / "1.0.0"
    shutil.copytree(models_folder / "exact" / "1.0.0", folder)
    package = load_package(folder)
    with pytest.raises(ModelError, match="gives no confidence"):
        limit_confidence(package, 0.2, "1.0.1")
    package = add_quality(package, {"scans": 4, "confidence": {"bias": 0.5, "weights": {"size": 1.0}}})
    made = limit_confidence(package, 0.2, "1.0.1", {"cases": 3})
    assert made.metadata["metrics"]["simulated_test_cases"] == {"cases": 3}
    assert (made.version, made.metadata["quality"]["min_confidence"]) == ("1.0.1", 0.2)
    assert "Lesions below 20% confidence" in (made.folder / "README.md").read_text(encoding="utf-8")
    assert made.metadata["sha256"]["refiner.safetensors"] == package.metadata["sha256"]["refiner.safetensors"]
    assert "min_confidence" not in load_package(folder).metadata["quality"]
    with pytest.raises(ModelError, match="is there already"):
        limit_confidence(package, 0.3, "1.0.1")
    with pytest.raises(ModelError, match="number from 0 to 1"):
        limit_confidence(package, 2.0, "1.0.2")


def test_a_recipe_with_an_impossible_limit_of_confidence_is_refused(recipe):
    with pytest.raises(ConfigError, match=r"min_confidence is 1\.5"):
        replace(recipe, min_confidence=1.5)
