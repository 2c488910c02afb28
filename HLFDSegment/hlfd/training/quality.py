"""Fits the quality signal of a recipe's package on simulated scans of its validation patients.

Each scan is segmented by the package. What its networks said of every lesion, and whether a true one lies there, gives
the confidence; the numbers of image and organs give the limits beyond which an image is unlike those of the training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.config import SegmentSettings
from hlfd.errors import ConfigError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Warn, ignore
from hlfd.files import write_json
from hlfd.inference.quality_lesions import LesionEvidence
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.steps import Examined
from hlfd.metrics.lesions import true_components
from hlfd.models.amend import add_quality
from hlfd.models.package import ModelPackage, load_package
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
from hlfd.training.assess import KINDS, simulate_scans, task_labels
from hlfd.training.quality_fit import JudgedLesion, fit_confidence, reliability
from hlfd.training.recipe import Recipe
from hlfd.volume import LabelMap

SLACK = {
    **{"soft": 0.25, "bright": 0.1, "tissue": 30.0, "fat": 12.0, "neighbours": 0.25},
    **{"entropy": 0.06, "located": 0.2, "refined": 0.15},
}
"""What is given beyond the extremes of the simulated scans, for scanners and patients that they lack."""
_SURE = 2.0
"""How often what the least sure locator lacks of certainty is given beyond it at most: simulated livers are all located
with 0.95 and more, and the brain of a head was taken for one with 0.78."""
_UPPER = ("bright", "tissue", "fat", "entropy")
_LOWER = ("soft", "tissue", "fat", "neighbours", "located", "refined")
_SEED = 7  # keeps these patients apart from the validation patches' and the test scans'
_SAME_PLACE_MM = 0.5


def quality_recipe(recipe: Recipe, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> dict[str, Any]:
    """Fit ``quality`` of the recipe's package, write it into its ``model.json``, and return it.

    What every scan said is kept in ``quality/`` of the recipe's folder, so that a broken run goes on.
    """
    package = _package(recipe)
    first, last = recipe.validation.cases
    clock = ProgressClock(recipe.quality_patients * (last - first + 1), on_event, cancel)
    patients: dict[int, list[dict[str, Any]]] = {}
    segmenter = Segmenter(without_quality(package), SegmentSettings())
    for variant in range(recipe.quality_patients):
        for case in range(first, last + 1):
            patients.setdefault(case, []).extend(_patient(recipe, segmenter, case, variant, cancel))
            clock.advance()
    scans = [scan for case in patients.values() for scan in case]
    quality: dict[str, Any] = {"scans": len(scans), "limits": limits(scans), **_confidence(patients)}
    if "confidence" not in quality:
        on_event(Warn("Too few true or false lesions were seen to calibrate a confidence; the package gives none."))
    write_json(recipe.folder / "quality" / "quality.json", {"weights": _weights(package), "quality": quality})
    return _add(recipe, package, quality)


def keep_quality(recipe: Recipe) -> None:
    """Give a package that was written again the quality that was fitted on the same weights, where there is one."""
    path = recipe.folder / "quality" / "quality.json"
    if path.is_file():
        package, kept = _package(recipe), json.loads(path.read_text(encoding="utf-8"))
        if kept["weights"] == _weights(package):
            _add(recipe, package, kept["quality"])


def _add(recipe: Recipe, package: ModelPackage, quality: dict[str, Any]) -> dict[str, Any]:
    """Write ``quality`` with the recipe's limit of confidence into the package, and return both."""
    whole = {**quality, "min_confidence": recipe.min_confidence}
    add_quality(package, whole)
    return whole


def limits(scans: Sequence[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Return the accepted range of each number: the extremes of the scans with ``SLACK`` beyond them."""
    rows = [scan[part] for part in ("image", "locator") for scan in scans]
    rows += [organ for scan in scans for organ in scan["organs"]]
    ranges: dict[str, list[float | None]] = {}
    for name, slack in SLACK.items():
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            if name == "located":
                slack = min(slack, _SURE * (1 - min(values)))
            low = round(min(values) - slack, 3) if name in _LOWER else None
            ranges[name] = [low, round(max(values) + slack, 3) if name in _UPPER else None]
    return ranges


def judge(examined: Examined, truth: LabelMap) -> list[JudgedLesion]:
    """Return the lesions of a result; true are those that overlap one of their kind as ``metrics.lesions`` asks."""
    result, judged = examined.result, []
    for value in sorted({lesion.value for lesion in result.lesions}):
        centres, true = _true_lesions(result.label_map, result.label_map.array == value, truth.array == value)
        for lesion, evidence in zip(result.lesions, examined.evidence):
            if lesion.value == value and evidence is not None:
                away = np.linalg.norm(centres - np.array(lesion.centroid_ras), axis=1)
                if away.min() < _SAME_PLACE_MM:
                    judged.append(JudgedLesion(evidence, bool(true[int(away.argmin())])))
    return judged


def _true_lesions(
    grid: LabelMap, found: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the centres (n, 3) in RAS mm of the components of ``found``, and which of them are true."""
    low, high = index_box(found | truth)
    crop = box_slices(low, high)
    parts, true = true_components(found[crop], truth[crop])
    at = np.nonzero(parts)
    number, count = parts[at], len(true) + 1
    voxels = np.bincount(number, minlength=count)[1:]
    k, j, i = (np.bincount(number, index + first, minlength=count)[1:] / voxels for index, first in zip(at, low))
    return np.column_stack([i, j, k]) @ grid.affine[:3, :3].T + grid.affine[:3, 3], true


def _patient(
    recipe: Recipe, segmenter: Segmenter, case: int, variant: int, cancel: CancelToken | None
) -> list[dict[str, Any]]:
    """Return what the scans of one patient said, from the file of an earlier run with the same weights if there is."""
    path = recipe.folder / "quality" / f"case_{case:05d}_{variant:02d}.json"
    weights = _weights(segmenter.package)
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["weights"] == weights:
            scans: list[dict[str, Any]] = kept["scans"]
            return scans
    seed = int(np.random.default_rng([recipe.validation.seed, _SEED, case, variant]).integers(2**31))
    labels, volumes = simulate_scans(recipe.validation, case, seed)
    truth = task_labels(labels, recipe.labels)
    scans = [_row(segmenter.examine(volumes[kind], cancel=cancel), truth) for kind in KINDS]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"weights": weights, "scans": scans})
    return scans


def _row(examined: Examined, truth: LabelMap) -> dict[str, Any]:
    lesions = [{"true": lesion.true, **asdict(lesion.evidence)} for lesion in judge(examined, truth)]
    organs = [asdict(organ) for organ in examined.organs]
    locator = {} if examined.locator is None else asdict(examined.locator)
    return {"image": asdict(examined.image), "locator": locator, "organs": organs, "lesions": lesions}


def _confidence(patients: dict[int, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the coefficients fitted on all patients, and the reliability of those fitted on the first half alone."""
    cases = sorted(patients)
    half = (len(cases) + 1) // 2
    early, late = (_judged(patients[case] for case in part) for part in (cases[:half], cases[half:]))
    model, trial = fit_confidence(early + late), fit_confidence(early)
    if model is None:
        return {}
    values: dict[str, Any] = {"bias": model.bias, "weights": dict(model.weights), "lesions": len(early + late)}
    if trial is not None and late:
        values["held_out"] = reliability(trial, late)
    return {"confidence": values}


def _judged(patients: Iterable[list[dict[str, Any]]]) -> list[JudgedLesion]:
    rows = [lesion for scans in patients for scan in scans for lesion in scan["lesions"]]
    return [JudgedLesion(LesionEvidence(**{k: v for k, v in row.items() if k != "true"}), row["true"]) for row in rows]


def _package(recipe: Recipe) -> ModelPackage:
    folder = recipe.folder / "package" / recipe.name / recipe.version
    if not folder.is_dir():
        raise ConfigError(f'"{folder}" is missing.', "Run the stage package of the recipe first.")
    return load_package(folder)


def _weights(package: ModelPackage) -> dict[str, str]:
    """Return the checksums of the networks, by which results of other weights are told apart."""
    sums: dict[str, str] = package.metadata["sha256"]
    return {entry.weights.name: sums[entry.weights.name] for entry in (package.locator, package.refiner) if entry}


def without_quality(package: ModelPackage) -> ModelPackage:
    """Return the package without limits, so that it answers every image."""
    return replace(package, metadata={key: value for key, value in package.metadata.items() if key != "quality"})
