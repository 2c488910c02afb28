"""The outcome of a training as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from hlfd.words import duration, number

HEADERS = ("Case", "Label", "Dice", "Surface Dice", "Volume error, ml")


def result_rows(result: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Return (case id, cells) for each case and label, the means over all cases (case id "") first."""
    rows = []
    for label, sides in result.get("summary", {}).items():
        before, after = sides["before"], sides["after"]
        cells = [_change(before.get(name), after.get(name), 3) for name in ("dice", "nsd_1mm")]
        rows.append(("", (_plain(label), *cells, _change(*(s.get("volume_error_ml") for s in (before, after)), 1))))
    for row in result.get("rows", ()):
        cells = [_change(row[f"{name}_before"], row[f"{name}_after"], 3) for name in ("dice", "surface")]
        volume = _change(row["volume_error_before_ml"], row["volume_error_after_ml"], 1)
        rows.append((row["case"], (_plain(row["label"]), *cells, volume)))
    return rows


def result_sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what came of the training in sentences."""
    steps, seconds = result.get("steps"), result.get("seconds")
    said = []
    if result.get("version"):
        said.append(
            _("{name} {version}, trained on from {base}.").format(
                name=result["name"], version=result["version"], base=result.get("base", "")
            )
        )
    if steps and seconds:
        said.append(_("{steps} steps, {time} in all.").format(steps=steps, time=duration(seconds)))
    if "improved" in result:
        better = _("The validation cases improved.")
        said.append(
            better if result["improved"] else _("The validation cases did not improve: prefer the old version.")
        )
    if result.get("flattered"):
        said.append(_("So few cases were there that the scored ones also chose when to stop: the gain is flattered."))
    return said


def _change(before: float | None, after: float | None, digits: int) -> str:
    return f"{number(before, digits)} \u2192 {number(after, digits)}"


def _plain(label: str) -> str:
    return label.replace("_", " ")
