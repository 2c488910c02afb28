"""Cross-validation: every fold's package on the whole scans of its own unseen patients, and the final package."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.config import SegmentSettings
from hlfd.data.layouts import Case
from hlfd.errors import EmptyInputError, ModelError
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.files import write_json, write_text
from hlfd.inference.roles import class_labels
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_label_map, read_volume, write_label_map
from hlfd.metrics import evaluate
from hlfd.models.package import ModelPackage, file_sha256, load_package
from hlfd.training.assess import summarise
from hlfd.training.dataset_cases import Split
from hlfd.training.dataset_recipe import DatasetRecipe
from hlfd.training.packaging import LABEL_TABLES, package_networks, provenance, training_metrics
from hlfd.volume import LabelMap

COLUMNS = ("dice", "nsd_1mm", "nsd_2mm", "hd95_mm", "voe", "rvd", "pred_ml", "ref_ml", "volume_error_ml")


def package_fold(fold: DatasetRecipe, number: int, split: Split, path: Path) -> ModelPackage:
    """Return the package of one fold's networks, written unless it is there with the same weights."""
    target = fold.folder / "package" / fold.name / fold.version
    weights = _weights(fold)
    try:
        package = load_package(target)
        if package.metadata["provenance"].get("weights_sha256") == weights:
            return package
    except ModelError:
        pass  # not there yet, or left over from a broken run
    counts = f"{len(split.train)} cases trained on, {len(split.validation)} for choosing weights, {len(split.test)}"
    origin = provenance(fold, path, f"Labelled CT, layout {fold.data_set.layout}, fold {number}: {counts} held out.")
    return package_networks(
        fold, fold.folder / "package", {**origin, "weights_sha256": weights}, training_metrics(fold)
    )


def _weights(fold: DatasetRecipe) -> dict[str, str]:
    files = {role: fold.folder / role / "best.safetensors" for role in fold.networks}
    return {role: file_sha256(path) for role, path in files.items() if path.is_file()}


def evaluate_fold(
    fold: DatasetRecipe,
    package: ModelPackage,
    cases: Sequence[Case],
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Segment whole scans with the package and score them; return the metrics by case.

    Each case is kept in ``evaluate/<case>.json`` and not repeated for the same weights. Writes
    ``evaluate/summary.json``, and over all folds there are ``cases.csv`` and ``summary.json`` beside the folds.
    """
    if not cases:
        raise EmptyInputError("The data set holds no case of this fold.", "Give the data set that was prepared.")
    folder = fold.folder / "evaluate"
    identity = file_sha256(package.folder / "model.json")
    segmenter: Segmenter | None = None
    clock = ProgressClock(len(cases), on_event, cancel)
    scores: dict[str, Any] = {}
    for case in cases:
        kept = _kept(folder / f"{case.id}.json", identity)
        if kept is None:
            segmenter = segmenter or Segmenter(package, SegmentSettings())
            assert case.label is not None  # list_cases refuses such cases
            truth = truth_of(read_label_map(case.label), fold)
            kept = {"model": identity, **score_case(segmenter, case.image, truth, cancel)}
            write_json(folder / f"{case.id}.json", kept)
        scores[case.id] = kept
        clock.advance()
    write_json(folder / "summary.json", summarise(scores))
    summarise_folds(fold.folder.parent)
    return scores


def _kept(path: Path, identity: str) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if values.get("model") == identity else None


def score_case(
    segmenter: Segmenter, image: Path, truth: LabelMap, cancel: CancelToken | None = None, keep: Path | None = None
) -> dict[str, Any]:
    """Segment one whole scan and return its metrics against the truth, seconds, mode and warnings.

    With ``keep`` the label map is written to that file.
    """
    result = segmenter.run(read_volume(image), cancel=cancel)
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        write_label_map(result.label_map, keep)
    return {
        **evaluate(result.label_map, truth),
        "mode": result.mode,
        "seconds": round(result.timing["total"], 3),
        "warnings": list(result.warnings),
    }


def truth_of(labels: LabelMap, recipe: DatasetRecipe) -> LabelMap:
    """Return a label map of the data set with the values of the package; sides, which it lacks, become the left."""
    table = LABEL_TABLES[recipe.labels]
    names = {label.name: label.value for label in table}
    values = np.zeros(256, np.uint8)
    explicit = dict(recipe.region.get("class_to_label", {}))
    for name, members in recipe.data_set.label_values.items():
        values[list(members)] = names[class_labels(name, tuple(names), explicit)[0]]
    return LabelMap(values[labels.array], labels.affine, table)


def summarise_folds(folder: Path) -> dict[str, Any]:
    """Write ``cases.csv`` and ``summary.json`` over all evaluated folds in a recipe's folder; return the summary.

    ``all`` holds the means over the cases of all folds, ``folds`` those of each, ``dice_between_folds`` the mean and
    the standard deviation of the folds' mean Dice.
    """
    folds: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("fold*/evaluate/*.json")):
        if path.name != "summary.json":
            scores = json.loads(path.read_text(encoding="utf-8"))
            folds.setdefault(path.parent.parent.name, {})[path.stem] = scores
    by_fold = {fold: summarise(scores) for fold, scores in folds.items()}
    together = summarise({name: scores for cases in folds.values() for name, scores in cases.items()})
    summary = {"all": together, "folds": by_fold, "dice_between_folds": _between(by_fold)}
    write_json(folder / "evaluate" / "summary.json", summary)
    write_text(folder / "evaluate" / "cases.csv", _table(folds))
    return summary


def _between(folds: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    names = sorted({name for fold in folds.values() for name, value in fold.items() if isinstance(value, dict)})
    found = {}
    for name in names:
        values = [fold[name]["dice"] for fold in folds.values() if fold.get(name, {}).get("dice") is not None]
        if values:
            found[name] = {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}
    return found


def _table(folds: dict[str, dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["fold", "case", "structure", *COLUMNS])
    for fold, cases in folds.items():
        for name, scores in cases.items():
            for group, values in scores["groups"].items():
                writer.writerow([fold, name, group, *(values.get(column) for column in COLUMNS)])
    return stream.getvalue()


def package_final(recipe: DatasetRecipe, fold: DatasetRecipe, path: Path) -> ModelPackage:
    """Write the recipe's package from the networks of ``fold``, with the cross-validation over all folds so far."""
    summary = recipe.folder / "evaluate" / "summary.json"
    metrics = training_metrics(fold)
    if summary.is_file():
        found = json.loads(summary.read_text(encoding="utf-8"))
        folds = {"folds_evaluated": len(found["folds"]), "dice_between_folds": found["dice_between_folds"]}
        metrics["cross_validation"] = {**folds, **found["all"]}
    number = f"fold {recipe.package_fold} of {recipe.data_set.folds}"
    data = f"Labelled CT, layout {recipe.data_set.layout}, {number}: its part of the patients was not trained on."
    origin = {**provenance(fold, path, data), "weights_sha256": _weights(fold)}
    return package_networks(fold, recipe.folder / "package", origin, metrics)
