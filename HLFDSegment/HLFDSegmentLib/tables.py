"""Measurements of a segmentation as table nodes, one row per structure or lesion, typed columns with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from hlfd.inference.result import SegmentationResult

_SEGMENTATION_ROLE = "HLFD.segmentation"
_KIND = "HLFD.Table"
_ARRAYS: dict[type, type[vtk.vtkAbstractArray]] = {
    str: vtk.vtkStringArray,
    int: vtk.vtkIntArray,
    float: vtk.vtkDoubleArray,
}


@dataclass(frozen=True)
class Column:
    """One column: ``name`` is the field of the result, ``title`` what the user reads; missing numbers become NaN."""

    name: str
    title: str
    kind: type
    unit: str = ""


STRUCTURE_COLUMNS = (
    Column("name", "Structure", str),
    Column("volume_ml", "Volume", float, "ml"),
    Column("longest_diameter_mm", "Longest diameter", float, "mm"),
    Column("hu_mean", "Mean", float, "HU"),
    Column("hu_sd", "Standard deviation", float, "HU"),
    Column("voxels", "Voxels", int),
)
LESION_COLUMNS = (
    Column("number", "Lesion", int),
    Column("name", "Kind", str),
    Column("side", "Side", str),
    Column("confidence", "Confidence", float),
    Column("volume_ml", "Volume", float, "ml"),
    Column("longest_diameter_mm", "Longest diameter", float, "mm"),
    Column("axial_long_mm", "Axial diameter", float, "mm"),
    Column("axial_short_mm", "Axial short diameter", float, "mm"),
    Column("hu_mean", "Mean", float, "HU"),
    Column("hu_sd", "Standard deviation", float, "HU"),
    Column("r_mm", "Centre R", float, "mm"),
    Column("a_mm", "Centre A", float, "mm"),
    Column("s_mm", "Centre S", float, "mm"),
)


def structures_table(
    scene: slicer.vtkMRMLScene,
    result: SegmentationResult,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
    name: str = "Structures",
) -> slicer.vtkMRMLTableNode:
    """Write one row per structure into a table node and return it.

    The table that an earlier run made for the same segmentation node is used again.
    """
    rows = [vars(structure) for structure in result.structures]
    arrays = _arrays(STRUCTURE_COLUMNS, rows)  # before the node, which then is never left half made
    return _write(_table(scene, "structures", name, segmentation_node), STRUCTURE_COLUMNS, arrays, result)


def lesions_table(
    scene: slicer.vtkMRMLScene,
    result: SegmentationResult,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
    name: str = "Lesions",
) -> slicer.vtkMRMLTableNode:
    """Write one row per lesion into a table node and return it; like ``structures_table``."""
    rows = []
    for lesion in result.lesions:
        r, a, s = lesion.centroid_ras
        rows.append({**vars(lesion), "r_mm": r, "a_mm": a, "s_mm": s})
    arrays = _arrays(LESION_COLUMNS, rows)
    return _write(_table(scene, "lesions", name, segmentation_node), LESION_COLUMNS, arrays, result)


def find_table(
    scene: slicer.vtkMRMLScene, kind: str, segmentation_node: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLTableNode | None:
    """Return the table of ``kind`` (structures, lesions) that belongs to the segmentation node, or None."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLTableNode")):
        table = scene.GetNthNodeByClass(index, "vtkMRMLTableNode")
        owner = table.GetNodeReferenceID(_SEGMENTATION_ROLE)
        if table.GetAttribute(_KIND) == kind and owner == segmentation_node.GetID():
            return table
    return None


def _table(
    scene: slicer.vtkMRMLScene, kind: str, name: str, segmentation_node: slicer.vtkMRMLSegmentationNode | None
) -> slicer.vtkMRMLTableNode:
    earlier = find_table(scene, kind, segmentation_node) if segmentation_node is not None else None
    table = earlier or scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    table.SetAttribute(_KIND, kind)
    if segmentation_node is not None:
        table.SetNodeReferenceID(_SEGMENTATION_ROLE, segmentation_node.GetID())
    return table


def _arrays(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> list[vtk.vtkAbstractArray]:
    arrays = []
    for column in columns:
        array = _ARRAYS[column.kind]()
        array.SetName(column.name)
        for row in rows:
            value = row[column.name]
            array.InsertNextValue(float("nan") if value is None else column.kind(value))
        arrays.append(array)
    return arrays


def _write(
    node: slicer.vtkMRMLTableNode,
    columns: Sequence[Column],
    arrays: Sequence[vtk.vtkAbstractArray],
    result: SegmentationResult,
) -> slicer.vtkMRMLTableNode:
    was_modifying = node.StartModify()
    try:
        node.RemoveAllColumns()
        for column, array in zip(columns, arrays):
            node.AddColumn(array)
            node.SetColumnTitle(column.name, f"{column.title} [{column.unit}]" if column.unit else column.title)
            node.SetColumnUnitLabel(column.name, column.unit)
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)
        purpose = "Demonstration, not for clinical use. " if result.demonstration else ""
        node.SetDescription(f"{purpose}Model {result.model} {result.model_version}, {result.backend}, {result.device}.")
    finally:
        node.EndModify(was_modifying)
    return node
