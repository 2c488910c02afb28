"""How a kidney model holds out under conditions that differ from an ordinary scan, one at a time.

Every patient is scanned under every condition; body, kidneys and scanner are drawn from the same seeds, so that the
difference between a condition and the base is one of pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hlfd.bench.robustness_conditions import CONDITIONS, Condition, Patients, scan
from hlfd.bench.robustness_score import score
from hlfd.bench.robustness_table import markdown, summarise
from hlfd.config import SegmentSettings
from hlfd.errors import UsageError
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.files import write_json, write_text
from hlfd.inference.segmenter import Segmenter
from hlfd.models.package import ModelPackage, file_sha256
from hlfd.training.assess import task_labels

TEST_CASES = tuple(range(195, 210))
"""The label maps of KiTS19 that no model here was trained or chosen with."""


@dataclass(frozen=True)
class RobustnessSettings:
    """What is measured."""

    cases: tuple[int, ...] = TEST_CASES
    conditions: tuple[Condition, ...] = CONDITIONS
    patients: Patients = field(default_factory=Patients)
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.cases or not self.conditions:
            raise UsageError("There is no case or no condition to measure.", "Name at least one of each.")


def run_robustness(
    package: ModelPackage,
    folder: Path,
    settings: RobustnessSettings | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Measure every case under every condition and return all numbers; ``folder`` gets results.json and table.md.

    Each finished scan is kept in ``folder/<condition>/case_<number>.json`` and not measured again unless the model or
    the condition has changed. Raises ``InputError`` where KiTS19's label maps are not at hand.
    """
    settings = settings or RobustnessSettings()
    model = {"name": package.name, "version": package.version, "sha256": file_sha256(package.folder / "model.json")}
    clock = ProgressClock(len(settings.cases) * len(settings.conditions), on_event, cancel)
    segmenter = Segmenter(package, SegmentSettings(threads=settings.threads))
    scores: dict[str, dict[str, Any]] = {condition.name: {} for condition in settings.conditions}
    for case in settings.cases:
        key, missing = f"case_{case:05d}", []
        for condition in settings.conditions:
            kept = _kept(_path(folder, condition, key), _about(model, condition, settings))
            if kept is None:
                missing.append(condition)
            else:
                scores[condition.name][key] = kept
                clock.advance()
        measurements = _measure(segmenter, case, missing, settings.patients, cancel) if missing else ()
        for condition, measured in measurements:
            content = {"about": _about(model, condition, settings), "scores": measured}
            write_json(_path(folder, condition, key), content)
            scores[condition.name][key] = measured
            clock.advance()
    result = {
        "model": model,
        "patients": asdict(settings.patients),
        "cases": list(settings.cases),
        "conditions": summarise(scores, {condition.name: condition.title for condition in settings.conditions}),
        "scores": scores,
    }
    write_json(folder / "results.json", result)
    write_text(folder / "table.md", markdown(result))
    return result


def _path(folder: Path, condition: Condition, key: str) -> Path:
    return folder / condition.name.replace(" ", "-") / f"{key}.json"


def _about(model: dict[str, str], condition: Condition, settings: RobustnessSettings) -> dict[str, Any]:
    """Return what a kept result must have in common with the one that is wanted, as plain values."""
    about = {"model": model["sha256"], "condition": asdict(condition), "patients": asdict(settings.patients)}
    plain: dict[str, Any] = json.loads(json.dumps(about))
    return plain


def _kept(path: Path, about: dict[str, Any]) -> dict[str, Any] | None:
    """Return the scores of an earlier run of the same model under the same condition."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    scores: dict[str, Any] | None = kept.get("scores") if kept.get("about") == about else None
    return scores


def _measure(
    segmenter: Segmenter,
    case: int,
    conditions: list[Condition],
    patients: Patients,
    cancel: CancelToken | None,
) -> Iterator[tuple[Condition, dict[str, Any]]]:
    """Scan a patient under each condition and score what the model makes of it."""
    anatomies = patients.build(case, [condition.variation for condition in conditions])
    for condition in conditions:
        volume, truth = scan(anatomies[condition.variation], condition)
        result = segmenter.run(volume, cancel=cancel)
        measured = score(result.label_map, task_labels(truth, "kidney"))
        facts = {"mode": result.mode, "warnings": list(result.warnings), "seconds": result.timing["total"]}
        yield condition, {**measured, **facts}
