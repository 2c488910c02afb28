"""The table of a comparison as rows of text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from hlfd.compare.results import ranking
from hlfd.compare.settings import PRIMARY, structures


def dice_text(summary: dict[str, Any]) -> str:
    """Return mean and deviation between seeds."""
    return f"{summary['mean']:.3f}" if summary["sd"] is None else f"{summary['mean']:.3f} ± {summary['sd']:.3f}"


def difference_text(difference: dict[str, float] | None) -> str:
    """Return a difference with its interval, both with sign."""
    if difference is None:
        return ""
    return f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"


def rows_of_text(results: dict[str, Any]) -> list[list[str]]:
    """Return a head and one row per method, the best tumor Dice first, then the teacher."""
    versus, metrics = f"- {results['baseline']}", structures(results["settings"]["exported"])
    head = ["method"]
    for metric in metrics:
        head += [f"{metric} Dice", versus]
    rows = [[*head, "ms/step", "MB"]]
    for row in ranking(results):
        cells = [row["method"]]
        for metric in metrics:
            cells += [dice_text(row[metric]), difference_text(row[metric].get("difference"))]
        rows.append([*cells, *(_number(row[key]) for key in ("step_ms", "memory_mb"))])
    teacher = results["teacher"]
    if PRIMARY in teacher:
        cells = ["(teacher)"]
        for metric in metrics:
            cells += [f"{teacher[metric]:.3f}", ""]
        rows.append([*cells, "", ""])
    return rows


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def markdown(results: dict[str, Any]) -> str:
    """Return the table as Markdown."""
    head, *rows = rows_of_text(results)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def comma_separated(results: dict[str, Any]) -> str:
    """Return the table as CSV with plain numbers, a row per method and structure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["method", "structure", "dice", "sd_seeds", "difference", "low", "high", "step_ms", "step_cpu_ms"]
    writer.writerow([*names, "memory_mb", "parameters"])
    for row in ranking(results):
        for metric in structures(results["settings"]["exported"]):
            summary = row[metric]
            found = summary.get("difference") or {"mean": None, "low": None, "high": None}
            numbers = [summary["mean"], summary["sd"], found["mean"], found["low"], found["high"]]
            facts = [row[key] for key in ("step_ms", "step_cpu_ms", "memory_mb", "parameters")]
            writer.writerow([row["method"], metric, *(_cell(value) for value in [*numbers, *facts])])
    return text.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
