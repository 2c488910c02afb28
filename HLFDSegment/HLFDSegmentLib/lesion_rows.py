"""The tables of a run as rows of text for a panel: read from the table nodes, so that they outlive the session."""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from hlfd.words import number, sureness
from HLFDSegmentLib.tables import find_table

HEADERS = ("Lesion", "Side", "Volume\n(ml)", "Size\n(mm)", "HU", "Confidence")
_UNKNOWN = float("nan")


@dataclass(frozen=True)
class Row:
    """One line: its ``cells``, what they mean in full, and the RAS position to jump to (None for structures)."""

    cells: tuple[str, ...]
    hint: str
    position: tuple[float, float, float] | None = None


def lesion_rows(scene: slicer.vtkMRMLScene, segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> list[Row]:
    """Return the lesions of a segmentation, largest first; none without its table."""
    table = _table(scene, "lesions", segmentation_node)
    return [] if table is None else [_lesion(table, index) for index in range(table.GetNumberOfRows())]


def structure_rows(scene: slicer.vtkMRMLScene, segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> list[Row]:
    """Return the structures of a segmentation; those that were not found have dashes."""
    table = _table(scene, "structures", segmentation_node)
    return [] if table is None else [_structure(table, index) for index in range(table.GetNumberOfRows())]


def _table(
    scene: slicer.vtkMRMLScene, kind: str, segmentation_node: slicer.vtkMRMLSegmentationNode | None
) -> slicer.vtkMRMLTableNode | None:
    return None if segmentation_node is None else find_table(scene, kind, segmentation_node)


class _Values:
    """The cells of one row of a table node by column name."""

    def __init__(self, table: slicer.vtkMRMLTableNode, row: int) -> None:
        self._table, self._row = table.GetTable(), row

    def text(self, name: str) -> str:
        return self._table.GetValueByName(self._row, name).ToString()

    def number(self, name: str) -> float:
        if self._table.GetColumnByName(name) is None:  # a scene of an earlier version
            return _UNKNOWN
        return self._table.GetValueByName(self._row, name).ToDouble()


def _lesion(table: slicer.vtkMRMLTableNode, index: int) -> Row:
    values = _Values(table, index)
    long, short = values.number("axial_long_mm"), values.number("axial_short_mm")
    cells = (
        f"{values.number('number'):.0f}. {values.text('name')}",
        values.text("side") or "-",
        number(values.number("volume_ml")),
        f"{number(long, 0)} \u00d7 {number(short, 0)}",
        f"{number(values.number('hu_mean'), 0)} ± {number(values.number('hu_sd'), 0)}",
        sureness(values.number("confidence")),
    )
    hint = (
        f"Axial diameters {number(long)} \u00d7 {number(short)} mm, longest in 3-D "
        f"{number(values.number('longest_diameter_mm'))} mm. Confidence: the share of true ones among simulated "
        "lesions like it. Click to show it in all slice views."
    )
    return Row(cells, hint, tuple(values.number(f"{axis}_mm") for axis in "ras"))


def _structure(table: slicer.vtkMRMLTableNode, index: int) -> Row:
    values = _Values(table, index)
    found = values.number("voxels") > 0
    cells = (
        values.text("name"),
        "",
        number(values.number("volume_ml")) if found else "-",
        number(values.number("longest_diameter_mm"), 0) if found else "-",
        f"{number(values.number('hu_mean'), 0)} ± {number(values.number('hu_sd'), 0)}" if found else "-",
        "",
    )
    return Row(cells, "Longest diameter in 3-D." if found else "Not found in this CT.")
