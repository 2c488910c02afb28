"""Measurements arrive in tables with typed columns and units."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
vtk = pytest.importorskip("vtk")
tables = pytest.importorskip("HLFDSegmentLib.tables")


@pytest.fixture
def result():
    structures = (
        Structure("left kidney", 1, 50000, 150.25, 112.5, 171.0, 22.5),
        Structure("right kidney", 4, 0, 0.0, None, None, None),
    )
    lesions = (Lesion(1, "kidney tumor", 2, "left", 12.5, 31.0, 28.5, 22.0, 85.0, 30.0, (-60.5, 20.0, 310.0)),)
    empty = LabelMap(np.zeros((2, 2, 2), np.uint8), np.eye(4), KIDNEY_LABELS)
    return SegmentationResult(empty, structures, lesions, "kidney", "1.0.0", True, "cpu", "openvino", "roi", {})


def test_structures_have_one_row_each(scene, result):
    node = tables.structures_table(scene, result)
    assert (node.GetNumberOfRows(), node.GetNumberOfColumns()) == (2, len(tables.STRUCTURE_COLUMNS))
    table = node.GetTable()
    assert table.GetValueByName(0, "name").ToString() == "left kidney"
    assert table.GetValueByName(0, "volume_ml").ToDouble() == 150.25
    assert math.isnan(table.GetValueByName(1, "hu_mean").ToDouble())


def test_lesions_have_side_diameters_and_position(scene, result):
    table = tables.lesions_table(scene, result).GetTable()
    row = {name: table.GetValueByName(0, name) for name in ("side", "axial_long_mm", "r_mm", "a_mm", "s_mm", "number")}
    assert row["side"].ToString() == "left"
    assert row["axial_long_mm"].ToDouble() == 28.5
    assert [row[name].ToDouble() for name in ("r_mm", "a_mm", "s_mm")] == [-60.5, 20.0, 310.0]
    assert row["number"].ToInt() == 1


def test_columns_are_typed_and_name_their_units(scene, result):
    node = tables.lesions_table(scene, result)
    assert isinstance(node.GetTable().GetColumnByName("number"), vtk.vtkIntArray)
    assert isinstance(node.GetTable().GetColumnByName("volume_ml"), vtk.vtkDoubleArray)
    assert isinstance(node.GetTable().GetColumnByName("side"), vtk.vtkStringArray)
    assert node.GetColumnUnitLabel("volume_ml") == "ml"
    assert node.GetColumnTitle("axial_long_mm") == "Axial diameter [mm]"
    assert node.GetUseColumnTitleAsColumnHeader()


def test_the_table_says_how_it_was_made(scene, result):
    description = tables.structures_table(scene, result).GetDescription()
    assert description == "Demonstration, not for clinical use. Model kidney 1.0.0, openvino, cpu."


def test_a_second_run_fills_the_same_table(scene, result):
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    first = tables.lesions_table(scene, result, segmentation)
    again = tables.lesions_table(scene, result, segmentation)
    other = tables.lesions_table(scene, result, scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    assert again is first
    assert first.GetNumberOfRows() == 1
    assert other is not first
    assert tables.find_table(scene, "structures", segmentation) is None


def test_without_lesions_the_table_has_columns_and_no_rows(scene, result):
    node = tables.lesions_table(scene, SegmentationResult(**{**vars(result), "lesions": ()}))
    assert (node.GetNumberOfRows(), node.GetNumberOfColumns()) == (0, len(tables.LESION_COLUMNS))


def shown(scene, result, node):
    from HLFDSegmentLib.lesion_rows import HEADERS, lesion_rows

    (row,) = lesion_rows(scene, node)
    return dict(zip(HEADERS, row.cells))


def test_a_row_shows_how_sure_the_lesion_is(scene, result):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    sure = replace(result, lesions=(replace(result.lesions[0], confidence=0.864),))
    tables.lesions_table(scene, sure, node)
    assert shown(scene, sure, node)["Confidence"] == "likely, 86\u00a0%"
    assert shown(scene, sure, node)["Lesion"] == "1. kidney tumor"


def test_without_calibration_and_in_older_scenes_the_confidence_is_a_dash(scene, result):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    table = tables.lesions_table(scene, result, node)
    assert math.isnan(table.GetTable().GetValueByName(0, "confidence").ToDouble())
    assert shown(scene, result, node)["Confidence"] == "-"
    table.GetTable().RemoveColumnByName("confidence")
    assert shown(scene, result, node)["Confidence"] == "-"
