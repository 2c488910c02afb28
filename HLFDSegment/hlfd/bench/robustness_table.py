"""The robustness table: means, paired differences to the base, and failures per condition."""

from __future__ import annotations

from typing import Any

import numpy as np

from hlfd.bench.robustness_score import FALSE_ORGAN_ML, FALSE_TUMOR_ML, GROUPS, LOST_DICE
from hlfd.compare.statistics import Bootstrap
from hlfd.compare.table import difference_text

BASE = "base"
COUNTS = ("tumors_above_1ml", "found_above_1ml", "tumors_below_1ml", "found_below_1ml")
FAILURES = ("lost_kidneys", "false_organs", "false_tumors")

Scores = dict[str, dict[str, Any]]
"""Scores per case."""


def summarise(scores: dict[str, Scores], titles: dict[str, str]) -> dict[str, Any]:
    """Return per condition the mean Dice of each group, its paired difference to the base, lesions and failures.

    A mean is over the cases whose truth holds the group, a difference over those that hold it in both; its limits are
    those of a 95 % bootstrap interval over cases, None with fewer than two.
    """
    base = scores.get(BASE)
    return {
        name: {
            "title": titles[name],
            "cases": len(cases),
            "dice": {group: _mean(cases, group) for group in GROUPS},
            "difference": {group: _difference(cases, base, group) for group in GROUPS} if name != BASE else {},
            **{key: sum(case[key] for case in cases.values()) for key in COUNTS},
            **_failures(cases),
        }
        for name, cases in scores.items()
        if cases
    }


def _mean(cases: Scores, group: str) -> float | None:
    known = [case["dice"][group] for case in cases.values() if case["dice"][group] is not None]
    return float(np.mean(known)) if known else None


def _difference(cases: Scores, base: Scores | None, group: str) -> dict[str, Any] | None:
    pairs = [
        (case["dice"][group], base[name]["dice"][group])
        for name, case in cases.items()
        if base and name in base and None not in (case["dice"][group], base[name]["dice"][group])
    ]
    if not pairs:
        return None
    own, reference = np.array(pairs).T[:, None]
    if len(pairs) < 2:
        return {"cases": 1, "mean": float((own - reference).mean()), "low": None, "high": None}
    found = Bootstrap(1, len(pairs)).difference(own, reference)
    return {"cases": len(pairs), "mean": found.mean, "low": found.low, "high": found.high}


def _failures(cases: Scores) -> dict[str, Any]:
    """Return the counts of each failure, of true kidneys, and the cases that have any failure."""
    lost = {name: sum(dice < LOST_DICE for dice in case["kidneys"].values()) for name, case in cases.items()}
    organs = {name: len(case["false_organs_ml"]) for name, case in cases.items()}
    tumors = {name: len(case["false_tumors_ml"]) for name, case in cases.items()}
    return {
        "kidneys": sum(len(case["kidneys"]) for case in cases.values()),
        **{key: sum(counts.values()) for key, counts in zip(FAILURES, (lost, organs, tumors))},
        "failed_cases": [name for name in cases if lost[name] or organs[name] or tumors[name]],
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    """Return a head and one row of text per condition."""
    titles = {"kidney_and_masses": "kidney with masses", "masses": "masses", "tumor": "tumor"}
    head = ["condition"]
    for group in GROUPS:
        head += [f"Dice {titles[group]}", "- base"]
    head += ["tumors > 1 ml found", "0.2 to 1 ml", "kidneys lost", "false organs", "false tumors", "scans that fail"]
    table = [head]
    for entry in result["conditions"].values():
        cells = [entry["title"]]
        for group in GROUPS:
            cells += [_number(entry["dice"][group]), _difference_text(entry["difference"].get(group))]
        cells += [f"{entry[f'found_{part}_1ml']}/{entry[f'tumors_{part}_1ml']}" for part in ("above", "below")]
        cells += [f"{entry['lost_kidneys']}/{entry['kidneys']}", str(entry["false_organs"]), str(entry["false_tumors"])]
        table.append([*cells, f"{len(entry['failed_cases'])}/{entry['cases']}"])
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference_text(found: dict[str, Any] | None) -> str:
    if found is None or found["low"] is None:
        return "" if found is None else f"{found['mean']:+.3f}"
    return difference_text(found)


def markdown(result: dict[str, Any]) -> str:
    """Return the table as Markdown with what its columns mean."""
    head, *body = rows(result)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    model = result["model"]
    notes = (
        f"Model {model['name']} {model['version']}, {len(result['cases'])} simulated patients per condition."
        " In brackets the 95 % bootstrap interval of the paired difference."
        f" A kidney is lost below a Dice of {LOST_DICE:g}; a false organ has at least {FALSE_ORGAN_ML:g} ml, a false"
        f" tumor {FALSE_TUMOR_ML:g} ml, of which less than a tenth is true."
    )
    return f"{table}\n{notes}\n"
