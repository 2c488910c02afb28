"""The new version of a fine-tuned package, and its comparison with the old one on held-out cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hlfd import __version__
from hlfd.config import SegmentSettings
from hlfd.data.layouts import Case
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_label_map, write_label_map
from hlfd.models.build import load_network
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
from hlfd.networks import SegmentationNetwork
from hlfd.training.dataset_evaluate import score_case
from hlfd.training.finetune_data import truth_of

MEASURES = ("dice", "nsd_1mm", "nsd_2mm", "volume_error_ml")
SIDES = ("before", "after")


@dataclass(frozen=True)
class Comparison:
    """Old and new model on held-out cases: metrics by case, and their means by structure.

    ``table`` maps a structure to before and after, each with Dice, surface Dice at 1 and 2 mm, and the mean absolute
    volume error in ml.
    """

    cases: dict[str, dict[str, Any]]
    table: dict[str, dict[str, dict[str, float | None]]]


def compare_packages(
    before: ModelPackage,
    after: ModelPackage,
    cases: Sequence[Case],
    meanings: Mapping[int, int],
    device: str = "auto",
    cancel: CancelToken | None = None,
    keep: Path | None = None,
    on_event: OnEvent = ignore,
) -> Comparison:
    """Segment whole scans with both packages and score them against their label maps.

    With ``keep`` the label maps are written there: ``<case>/before.nii.gz``, ``after`` and ``reference``.
    """
    clock = ProgressClock(2 * len(cases), on_event, cancel)
    scores: dict[str, dict[str, Any]] = {case.id: {} for case in cases}
    for name, package in (("before", before), ("after", after)):
        segmenter = Segmenter(package, SegmentSettings(device=device))
        for case in cases:
            assert case.label is not None  # labelled_cases leaves others out
            truth = truth_of(read_label_map(case.label), package, meanings)
            folder = keep and keep / case.id
            scores[case.id][name] = score_case(
                segmenter, case.image, truth, cancel, keep=folder and folder / f"{name}.nii.gz"
            )
            if folder is not None and name == "before":
                write_label_map(truth, folder / "reference.nii.gz")
            clock.advance()
    structures = sorted({group for both in scores.values() for group in both["before"]["groups"]})
    table = {
        structure: {name: _means([both[name]["groups"].get(structure) for both in scores.values()]) for name in SIDES}
        for structure in structures
    }
    return Comparison(scores, table)


def _means(groups: Sequence[dict[str, Any] | None]) -> dict[str, float | None]:
    """Return the mean of each measure over the cases that have the structure, in truth or result."""
    present = [group for group in groups if group and not group.get("both_empty")]
    found: dict[str, float | None] = {}
    for measure in MEASURES:
        values = [abs(g[measure]) if measure.endswith("_ml") else g[measure] for g in present]
        known = [value for value in values if value is not None]
        found[measure] = round(float(np.mean(known)), 4) if known else None
    return found


def write_version(
    base: ModelPackage,
    refiner: SegmentationNetwork,
    version: str,
    root: Path,
    origin: dict[str, Any],
    quality: dict[str, Any] | None = None,
    comparison: Comparison | None = None,
) -> ModelPackage:
    """Write ``root/<name>/<version>`` with a new refiner and everything else as in ``base``."""
    old = base.metadata
    scored = {} if comparison is None else {"finetuning_on_held_out_cases": comparison.table}
    facts = PackageFacts(
        name=base.name,
        version=version,
        title=f"{old.get('title') or base.name}, fine-tuned",
        task=base.task,
        labels=base.labels,
        region=base.region,
        licence=base.licence,
        notice=base.notice,
        demonstration=base.demonstration,
        provenance={**origin, "hlfd": __version__, "base": old.get("provenance", {})},
        metrics={**scored, "of_the_base_before_finetuning": old.get("metrics", {})},
        quality=quality or {},
    )
    networks = [_unchanged(entry) for entry in (base.locator, base.teacher)]
    new = _described(base.refiner, refiner)
    return write_package(root, facts, new, locator=networks[0], teacher=networks[1])


def _unchanged(entry: NetworkEntry | None) -> TrainedNetwork | None:
    return None if entry is None else _described(entry, load_network(entry))


def _described(entry: NetworkEntry, module: SegmentationNetwork) -> TrainedNetwork:
    return TrainedNetwork(
        module=module,
        network=entry.network,
        parameters=entry.parameters,
        spacing_mm=entry.spacing_mm,
        windows=entry.windows,
        classes=entry.classes,
        openvino=entry.openvino is not None,
    )
