"""The outcome of a training as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from hlfd.words import duration, number
from HLFDTrainLib.result_table import MEAN, NUMBERS, measured, table_rows

HEADERS = ("Case", "Structure", "Dice", "Surface Dice\nat 1 mm", "Volume error\nin ml")


def result_rows(result: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (case id, cells) for each case and structure, "" as id for the means over all cases, which come first."""
    rows = []
    for row in table_rows(result) if result else ():
        cells = [_change(row, title, 1 if title.endswith("[ml]") else 2) for title in NUMBERS.values()]
        rows.append(("" if row["Case"] == MEAN else row["Case"], (row["Structure"], *cells)))
    return rows


def result_sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what came of the training in sentences."""
    steps, seconds = result.get("steps"), result.get("seconds")
    said = []
    if result.get("version") and not result.get("base"):
        text = _("{name} {version}, trained from scratch.")
        said.append(text.format(name=result["name"], version=result["version"]))
    elif result.get("version"):
        said.append(
            _("{name} {version}, trained on from {base}.").format(
                name=result["name"], version=result["version"], base=result.get("base", "")
            )
        )
    if steps and seconds:
        said.append(_("{steps} steps, {time} in all.").format(steps=steps, time=duration(seconds)))
    if result.get("improved") is not None:
        better = _("The validation cases improved.")
        said.append(
            better if result["improved"] else _("The validation cases did not improve: prefer the old version.")
        )
    count, dice = measured(result.get("metrics") or {})
    if count:
        said.append(_("Mean Dice on {count} cases that it did not learn from: {dice}.").format(count=count, dice=dice))
    if result.get("flattered"):
        said.append(_("So few cases were there that the scored ones also chose when to stop: the gain is flattered."))
    return said


def _change(row: Mapping[str, Any], title: str, digits: int) -> str:
    before, after = (number(row[f"{title} {side}"], digits) for side in ("before", "after"))
    return f"{before} \u2192 {after}"
