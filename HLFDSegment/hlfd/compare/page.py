"""The report of a comparison: one HTML file with table and plots that needs nothing else."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import yaml

from hlfd.compare.plots import Interval, Panel, curves, forest, heat, scatter
from hlfd.compare.results import ranking, verdict
from hlfd.compare.settings import PRIMARY, structures
from hlfd.compare.table import rows_of_text
from hlfd.report.document import document, section

_STYLE = Path(__file__).with_name("compare.css")


def make_page(results: dict[str, Any]) -> str:
    """Return the page of results as ``hlfd.compare.results.collect`` gives them. All text is escaped."""
    sections = [
        section("Result", _notes(results) + _table(results)),
        section(f"Tumor Dice minus that of {results['baseline']}", _forest(results)),
        section("Validation during training", _curves(results)),
        section("Cost and result", _scatter(results)),
        section("Case by case", _heat(results)),
        section("Every pair of methods", _pairs(results)),
        section("How it was done", _method(results)),
    ]
    body = f"""<header>
<p class="kicker">HLFD comparison of distillation methods</p>
<h1>{escape(results["title"])}</h1>
<p class="sub">{len(results["table"])} methods, {len(results["seeds"])} seeds, {len(results["cases"])} test cases
&middot; {escape(results["made"][:16].replace("T", " "))} UTC</p>
</header>
{_unfinished(results)}
{"".join(sections)}"""
    return document(results["title"], body, "Raw numbers: results.json.", _STYLE.read_text(encoding="utf-8"))


def _unfinished(results: dict[str, Any]) -> str:
    if not results["missing"]:
        return ""
    names = escape("; ".join(results["missing"]))
    return f'<p class="banner"><strong>Not finished:</strong> {names}. Methods without all seeds are left out.</p>'


def _notes(results: dict[str, Any]) -> str:
    return f"<p>{escape(results['notes'])}</p>" if results["notes"] else ""


def _table(results: dict[str, Any]) -> str:
    head, *rows = rows_of_text(results)
    by_name = {row["method"]: row for row in results["table"]}
    metrics = structures(results["settings"]["exported"])
    body = []
    for cells in rows:
        row = by_name.get(cells[0], {})
        kinds = [""] + [kind for metric in metrics for kind in ("num", _kind(row, metric))] + ["num", "num"]
        body.append("<tr>" + "".join(f'<td class="{k}">{escape(c)}</td>' for k, c in zip(kinds, cells)) + "</tr>")
    names = "".join(f'<th class="{"num" if i else ""}">{escape(name)}</th>' for i, name in enumerate(head))
    level = 100 * results["settings"]["bootstrap"]["level"]
    legend = (
        f"Mean Dice ± standard deviation between seeds; paired difference to {results['baseline']} with its "
        f"{level:g} % bootstrap interval over cases and seeds, coloured where it excludes 0. Intervals are not "
        "corrected for the number of methods. Time is the median of a step; memory what one training process holds."
    )
    table = f'<table class="tight"><thead><tr>{names}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="scroll">{table}</div><p class="small">{escape(legend)}</p>'


def _kind(row: dict[str, Any], metric: str) -> str:
    chosen = verdict(row.get(metric, {}).get("difference"))
    return "num" + {1: " up", 0: "", -1: " down"}[chosen]


def _compared(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in ranking(results) if "difference" in row[PRIMARY]]


def _forest(results: dict[str, Any]) -> str:
    rows = [
        Interval(row["method"], **row[PRIMARY]["difference"], verdict=verdict(row[PRIMARY]["difference"]))
        for row in _compared(results)
    ]
    return forest(rows, "Paired differences of the tumor Dice with intervals") if rows else ""


def mean_curve(units: dict[str, Any], key: str) -> list[tuple[float, float]]:
    """Return the mean over seeds of a curve's values, at the steps that all seeds have."""
    found: dict[float, list[float]] = {}
    for unit in units.values():
        for point in unit["curve"]:
            if key in point:
                found.setdefault(float(point["step"]), []).append(point[key])
    return [(step, sum(values) / len(values)) for step, values in sorted(found.items()) if len(values) == len(units)]


def _curves(results: dict[str, Any]) -> str:
    key = f"validation/dice_{PRIMARY}"
    reference = mean_curve(results["units"].get(results["baseline"], {}), key)
    panels = [
        Panel(row["method"], mean_curve(results["units"][row["method"]], key), reference)
        for row in ranking(results)
        if row["method"] != results["baseline"] or len(results["table"]) == 1
    ]
    legend = f"Tumor Dice on validation patches, mean over seeds; grey is {results['baseline']}."
    return f'{curves(panels, "Validation curves")}<p class="small">{escape(legend)}</p>'


def _scatter(results: dict[str, Any]) -> str:
    points = [
        (row["method"], row["step_ms"], row[PRIMARY]["mean"]) for row in ranking(results) if row["step_ms"] is not None
    ]
    return scatter(points, "Time per step and tumor Dice", "ms per step", "tumor Dice") if points else ""


def _heat(results: dict[str, Any]) -> str:
    rows = [(row["method"], row[PRIMARY]["per_case"]) for row in _compared(results)]
    if not rows:
        return ""
    names = [case.lstrip("0") or "0" for case in results["cases"]]
    legend = f"Tumor Dice minus that of {results['baseline']} per test case, mean over seeds."
    return f'{heat(rows, names, "Differences by case")}<p class="small">{escape(legend)}</p>'


def _pairs(results: dict[str, Any]) -> str:
    names = [row["method"] for row in ranking(results)]
    if len(names) < 3:
        return ""
    head = "".join(f'<th class="turned"><span>{escape(name)}</span></th>' for name in names)
    body = []
    for a in names:
        cells = [_pair_cell(results["pairs"][a].get(b)) for b in names]
        body.append(f"<tr><td>{escape(a)}</td>{''.join(cells)}</tr>")
    legend = "Tumor Dice of the row minus that of the column, in hundredths; coloured where the interval excludes 0."
    table = f'<table class="pairs"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="scroll">{table}</div><p class="small">{escape(legend)}</p>'


def _pair_cell(difference: dict[str, float] | None) -> str:
    if difference is None:
        return '<td class="num"></td>'
    kind = {1: " up", 0: "", -1: " down"}[verdict(difference)]
    hint = f"{difference['mean']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    return f'<td class="num{kind}" title="{hint}">{100 * difference["mean"]:+.1f}</td>'


def _method(results: dict[str, Any]) -> str:
    settings, teacher, row = results["settings"], results["teacher"], results["table"][0]
    student, patch = settings["student"], settings["patch"]
    source = {k: v for k, v in settings["teacher"].items() if v and k in ("package", "recipe", "weights", "network")}
    facts = {
        "Student": f"{student['network']} {student['parameters']}, {row['parameters']:,} parameters, begins with "
        + (student.get("initial") or "random weights"),
        "Teacher": f"{source}, {teacher['parameters']:,} parameters, sha256 {teacher['sha256'][:16]}",
        "Training": f"{row['steps']} steps of {settings['training']['batch_size']} patches {patch['size']} at "
        f"{patch['spacing_mm']:g} mm; weights of the best validation",
        "Test": f"{len(results['scans'])} simulated scans of {len(results['cases'])} cases, boxes around the organ",
        "Machine": ", ".join(f"{key} {value}" for key, value in results["machine"].items()),
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return f'<dl class="facts">{listed}</dl><details><summary>All settings</summary><pre>{escape(text)}</pre></details>'
