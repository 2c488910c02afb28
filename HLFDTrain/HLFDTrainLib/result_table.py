"""The table of a result: a row per held-out case and structure, before and after, the means first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer

from hlfd.words import number
from HLFDSegmentLib.nodes import number_column, remove_nodes, text_column, write_columns

NUMBERS = {
    "dice": "Dice",
    "surface": "Surface Dice 1 mm",
    "volume_error": "Volume error [ml]",
}
MEAN = "all (mean)"
_IN_SUMMARY = {"dice": "dice", "surface": "nsd_1mm", "volume_error": "volume_error_ml"}


class ResultTable:
    """One table node in ``scene``, used again for the next result."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._node: slicer.vtkMRMLTableNode | None = None

    def fill(self, result: Mapping[str, Any]) -> slicer.vtkMRMLTableNode:
        """Write the numbers of a result and return the node."""
        node = self._node
        if node is None or node.GetScene() is not self._scene:
            node = self._scene.AddNewNodeByClass("vtkMRMLTableNode", "Before and after")
            self._node = node
        rows = table_rows(result)
        columns = []
        for title in rows[0] if rows else ("Case", "Structure"):
            make = text_column if title in ("Case", "Structure") else number_column
            columns.append(make(title, [row[title] for row in rows]))
        write_columns(node, columns)
        node.SetName(f"Before and after {result.get('name', '')} {result.get('version', '')}".strip())
        return node

    def remove(self) -> None:
        """Take the node out of the scene."""
        remove_nodes(self._scene, self._node)
        self._node = None


def table_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that are shown: title to text or number; a structure that is in neither map has NaN."""
    rows = []
    for label, sides in result["summary"].items():
        values = {
            (name, side): sides[side].get(key) for name, key in _IN_SUMMARY.items() for side in ("before", "after")
        }
        rows.append({"Case": MEAN, "Structure": _plain(label), **_numbers(values)})
    for row in result["rows"]:
        values = {
            (name, side): row[f"{name}_{side}_ml" if name == "volume_error" else f"{name}_{side}"]
            for name in NUMBERS
            for side in ("before", "after")
        }
        rows.append({"Case": row["case"], "Structure": _plain(row["label"]), **_numbers(values)})
    return rows


def measured(metrics: Mapping[str, Any]) -> tuple[int, str]:
    """Return on how many cases a student from scratch was scored that it did not learn from, and Dice by structure.

    0 and no text where it was not scored; ``metrics`` are those of its package.
    """
    scores = dict(metrics.get("cross_validation") or {})
    dice = {name: values["dice"] for name, values in scores.items() if isinstance(values, dict) and "dice" in values}
    known = [f"{_plain(name).lower()} {number(value, 2)}" for name, value in dice.items() if value is not None]
    return int(scores.get("cases", 0)) if known else 0, ", ".join(known)


def _numbers(values: Mapping[tuple[str, str], float | None]) -> dict[str, float]:
    found = {}
    for (name, side), value in values.items():
        found[f"{NUMBERS[name]} {side}"] = float("nan") if value is None else round(float(value), 3)
    return found


def _plain(label: str) -> str:
    return label.replace("_", " ").capitalize()
