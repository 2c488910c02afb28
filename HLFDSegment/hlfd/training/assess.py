"""Scores a recipe's package on whole simulated test scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hlfd.config import SegmentSettings
from hlfd.data.pool import PoolSettings, shape_of
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.files import write_json
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS, PHANTOM_LABELS
from hlfd.metrics import evaluate
from hlfd.models.package import load_package
from hlfd.phantom import AcquisitionSettings, AnatomySettings, build_anatomy, render, to_labels
from hlfd.training.recipe import Recipe
from hlfd.volume import LabelMap, Volume

KINDS = {"contrast": ("corticomedullary", "nephrographic", "excretory"), "native": ("native",)}
"""Kinds of test scans and the phases drawn for them: with contrast medium, as all scans of KiTS, and without."""
SEGMENTATION = "segmentation.nii.gz"


def assess_recipe(recipe: Recipe, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> dict[str, Any]:
    """Segment every test case in every kind of ``KINDS``.

    Writes ``assess/cases.json`` and ``assess/summary.json`` in the recipe's folder and returns the summary.
    """
    folder = recipe.folder / "assess"
    folder.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter(load_package(recipe.folder / "package" / recipe.name / recipe.version), SegmentSettings())
    first, last = recipe.test.cases
    clock = ProgressClock(len(KINDS) * (last - first + 1), on_event, cancel)
    cases: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for case in range(first, last + 1):
        truth_path = make_test_case(recipe, case)
        truth = task_labels(read_label_map(truth_path / SEGMENTATION, PHANTOM_LABELS), recipe.labels)
        for kind in KINDS:
            result = segmenter.run(read_volume(truth_path / f"{kind}.nii.gz"), cancel=cancel)
            cases[kind][f"case_{case:05d}"] = {
                **evaluate(result.label_map, truth),
                "mode": result.mode,
                "seconds": round(result.timing["total"], 3),
                "warnings": list(result.warnings),
            }
            clock.advance()
    summary = {kind: summarise(scores) for kind, scores in cases.items()}
    write_json(folder / "cases.json", cases)
    write_json(folder / "summary.json", summary)
    return summary


def make_test_case(recipe: Recipe, case: int) -> Path:
    """Return the folder of a test case, simulated on first use: one file per kind of scan, and the exact labels.

    Voxels are 0.8 to 1 mm in plane, slices 2 to 4 mm apart.
    """
    folder = recipe.folder / "test" / f"case_{case:05d}"
    if (folder / SEGMENTATION).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(np.random.default_rng([recipe.test.seed, case]).integers(2**31))
    labels, volumes = simulate_scans(recipe.test, case, seed)
    for kind, volume in volumes.items():
        write_volume(volume, folder / f"{kind}.nii.gz")
    write_label_map(labels, folder / SEGMENTATION)  # last: marks it whole
    return folder


def simulate_scans(patients: PoolSettings, case: int, seed: int) -> tuple[LabelMap, dict[str, Volume]]:
    """Return the exact labels of a patient of ``seed`` with the kidneys of ``case``, and a scan of every kind."""
    rng = np.random.default_rng(seed)
    plane, axial = float(rng.uniform(0.8, 1.0)), float(rng.choice([2.0, 2.5, 3.0, 4.0]))
    settings = AnatomySettings(**{"spacing_mm": (plane, plane, axial), **patients.anatomy})
    anatomy = build_anatomy(settings, seed, shape_of(case, patients.shapes))
    volumes = {}
    for kind, phases in KINDS.items():
        acquisition = AcquisitionSettings(phase=str(rng.choice(phases)))
        hu = render(anatomy.tissue, anatomy.spacing_mm, seed, acquisition).round().numpy().astype(np.int16)
        volumes[kind] = Volume(hu, anatomy.affine)
    return LabelMap(to_labels(anatomy.tissue.numpy()), anatomy.affine, PHANTOM_LABELS), volumes


def task_labels(truth: LabelMap, table: str) -> LabelMap:
    """Return the truth with the labels of the task alone."""
    labels = {"kidney": KIDNEY_LABELS, "liver": LIVER_LABELS}[table]
    keep = np.zeros(256, np.uint8)
    for label in labels:
        keep[label.value] = label.value
    return LabelMap(keep[truth.array], truth.affine, labels)


def summarise(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over cases of every metric of every group, and lesion counts added up over all cases."""
    names = sorted({name for case in cases.values() for name in case["groups"]})
    summary: dict[str, Any] = {"cases": len(cases)}
    for name in names:
        groups = [case["groups"][name] for case in cases.values() if name in case["groups"]]
        present = [group for group in groups if not group.get("both_empty")]
        keys = [key for key, value in groups[0].items() if isinstance(value, float)]
        summary[name] = {
            "cases_with_structure": len(present),
            **{key: _mean([group[key] for group in present]) for key in keys},
            **_lesions(groups),
        }
    return summary


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _lesions(groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the detection of all cases together, with the counts that the rates are made of."""
    found = [group["lesions"] for group in groups if "lesions" in group]
    if not found:
        return {}
    keys = ("reference", "found", "reference_above_1ml", "found_above_1ml", "predicted", "true")
    total = {key: int(sum(lesions[key] for lesions in found)) for key in keys}
    return {
        "lesions": total,
        "lesion_sensitivity": _rate(total["found"], total["reference"]),
        "lesion_sensitivity_above_1ml": _rate(total["found_above_1ml"], total["reference_above_1ml"]),
        "lesion_precision": _rate(total["true"], total["predicted"]),
    }


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
