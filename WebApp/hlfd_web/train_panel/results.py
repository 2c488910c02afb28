"""The outcome of a training as rows and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hlfd.words import duration, number
from HLFDTrainLib.result_table import MEAN, NUMBERS, measured, table_rows

HEADERS = ("Structure", "Dice", "Surface Dice 1 mm", "Volume error, ml")


def result_rows(result: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row per case and structure, the means over all cases first; ``names`` are the captions of the cases.

    ``case`` is the id of the case that can be shown, empty for the means.
    """
    rows = []
    for index, row in enumerate(table_rows(result) if result else ()):
        mean = row["Case"] == MEAN
        name = "all, mean" if mean else names.get(row["Case"], row["Case"])
        cells = [_change(row, title, 1 if title.endswith("[ml]") else 2) for title in NUMBERS.values()]
        known = row["Case"] if not mean and row["Case"] in result.get("predictions", {}) else ""
        rows.append({"id": index, "case": known, "name": name, "structure": row["Structure"], "cells": cells})
        rows[-1]["worse"] = _worse(row)
    return rows


def result_sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what came of the training in sentences."""
    steps, seconds = result.get("steps"), result.get("seconds")
    said = []
    if result.get("version"):
        origin = f", trained on from {result['base']}" if result.get("base") else ", trained from scratch"
        said.append(f"{result['name']} {result['version']}{origin}.")
    if steps and seconds:
        said.append(f"{steps} steps, {duration(seconds)} in all.")
    if result.get("improved") is not None:
        better = "The validation cases improved."
        said.append(better if result["improved"] else "The validation cases did not improve: prefer the old version.")
    count, dice = measured(result.get("metrics") or {})
    if count:
        said.append(f"Mean Dice on {count} cases that it did not learn from: {dice}.")
    if result.get("flattered"):
        said.append("So few cases were there that the scored ones also chose when to stop: the gain is flattered.")
    return said


def _change(row: Mapping[str, Any], title: str, digits: int) -> str:
    before, after = (number(row[f"{title} {side}"], digits) for side in ("before", "after"))
    return f"{before} \u2192 {after}"


def _worse(row: Mapping[str, Any]) -> bool:
    before, after = (row[f"{NUMBERS['dice']} {side}"] for side in ("before", "after"))
    return bool(after < before - 0.01)  # false for NaN
