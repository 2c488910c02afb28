"""From finished units to results: means over seeds, paired differences with intervals, times, memory, curves."""

from __future__ import annotations

import json
import platform
import statistics
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import numpy as np

from hlfd import __version__
from hlfd.compare.settings import PRIMARY, CompareSettings, plain_settings, structures
from hlfd.compare.statistics import Bootstrap, Scores, mean_per_case, summarise
from hlfd.errors import InputError

TEACHER_SCORES = "teacher.json"
_SCHEMA = 1


def collect(settings: CompareSettings, record: dict[str, Any]) -> dict[str, Any]:
    """Return the results of the methods whose units are finished for every seed; the others are named as missing.

    Plain JSON values. ``units`` holds the raw numbers: Dice per scan, curve, times. Raises ``InputError`` when no
    method is finished.
    """
    units = {name: _units(settings, name) for name in settings.methods}
    finished = [name for name, found in units.items() if len(found) == len(settings.seeds)]
    missing = [f"{name}, seed {seed}" for name in units for seed in settings.seeds if str(seed) not in units[name]]
    if not finished:
        raise InputError("No method is finished for all seeds.", "Run hlfd compare until one is.")
    scans = sorted(units[finished[0]][str(settings.seeds[0])]["scores"])
    scores = {name: _scores(settings, units[name], scans) for name in finished}
    cases = mean_per_case(np.zeros((1, len(scans))), scans)[1]
    rows = _table(settings, units, scores, len(cases))
    return {
        "schema": _SCHEMA,
        "title": settings.title,
        "notes": settings.notes,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hlfd": __version__,
        "machine": machine(),
        "settings": plain_settings(settings),
        "baseline": settings.baseline,
        "seeds": list(settings.seeds),
        "cases": cases,
        "scans": scans,
        "missing": missing,
        "teacher": {**record["teacher"], **_teacher(settings, scans)},
        "table": rows,
        "pairs": _pairs(settings, {name: values[PRIMARY] for name, values in scores.items()}, len(cases)),
        "units": units,
    }


def _units(settings: CompareSettings, name: str) -> dict[str, Any]:
    found = {}
    for seed in settings.seeds:
        path = settings.unit_folder(name, seed) / "unit.json"
        if path.is_file():
            found[str(seed)] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _scores(settings: CompareSettings, units: dict[str, Any], scans: list[str]) -> dict[str, Scores]:
    """Return per structure the Dice (seeds, cases)."""
    found = {}
    for metric in structures(settings.exported):
        values = [[units[str(seed)]["scores"][scan][metric] for scan in scans] for seed in settings.seeds]
        found[metric] = mean_per_case(np.array(values, np.float64), scans)[0]
    return found


def _bootstrap(settings: CompareSettings, cases: int) -> Bootstrap:
    chosen = settings.bootstrap
    return Bootstrap(len(settings.seeds), cases, chosen.resamples, chosen.seed, chosen.level)


def _table(
    settings: CompareSettings, units: dict[str, Any], scores: dict[str, dict[str, Scores]], cases: int
) -> list[dict[str, Any]]:
    bootstrap = _bootstrap(settings, cases)
    reference = scores.get(settings.baseline)
    rows = []
    for name, by_metric in scores.items():
        row: dict[str, Any] = {"method": name}
        for metric, values in by_metric.items():
            row[metric] = asdict(summarise(values))
            if reference is not None and name != settings.baseline:
                row[metric]["difference"] = asdict(bootstrap.difference(values, reference[metric]))
                row[metric]["per_case"] = (values - reference[metric]).mean(axis=0).tolist()
        every = list(units[name].values())
        for key in ("step_ms", "step_cpu_ms", "memory_mb"):
            known = [unit[key] for unit in every if unit[key] is not None]
            row[key] = statistics.median(known) if known else None
        row |= {key: every[0][key] for key in ("parameters", "projection_parameters", "steps")}
        rows.append(row)
    return rows


def _pairs(settings: CompareSettings, scores: dict[str, Scores], cases: int) -> dict[str, Any]:
    """Return the difference row minus column for all pairs of methods."""
    bootstrap = _bootstrap(settings, cases)
    return {a: {b: asdict(bootstrap.difference(scores[a], scores[b])) for b in scores if a != b} for a in scores}


def _teacher(settings: CompareSettings, scans: list[str]) -> dict[str, Any]:
    path = settings.folder / "data" / TEACHER_SCORES
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        metric: float(mean_per_case(np.array([found[scan][metric] for scan in scans]), scans)[0].mean())
        for metric in structures(settings.exported)
    }


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    import torch

    found = {"system": platform.system(), "python": platform.python_version(), "torch": torch.__version__}
    if torch.cuda.is_available():
        return {**found, "device": torch.cuda.get_device_name()}
    return {**found, "device": f"CPU ({torch.backends.cpu.get_cpu_capability()}), 1 thread per process"}


def verdict(difference: dict[str, float] | None) -> int:
    """Return 1 or -1 where the interval lies above or below 0, else 0."""
    if difference is None:
        return 0
    return int(difference["low"] > 0) - int(difference["high"] < 0)


def ranking(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table, the best tumor Dice first."""
    return sorted(results["table"], key=lambda row: -row[PRIMARY]["mean"])
