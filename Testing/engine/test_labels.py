"""Label tables: values of KiTS, distinct colours and names, and Slicer's terminology."""

from __future__ import annotations

import pytest

from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS, PHANTOM_LABELS, Label, Terminology


def test_kidney_values_follow_kits_with_the_right_kidney_as_four():
    assert {label.name: label.value for label in KIDNEY_LABELS} == {
        "left kidney": 1,
        "kidney tumor": 2,
        "kidney cyst": 3,
        "right kidney": 4,
    }


@pytest.mark.parametrize("table", [KIDNEY_LABELS, LIVER_LABELS, PHANTOM_LABELS])
def test_values_names_and_colours_are_distinct_and_legal(table):
    for part in ("value", "name", "color"):
        assert len({getattr(label, part) for label in table}) == len(table)
    assert all(0 < label.value < 256 for label in table)
    assert all(0 <= channel <= 255 for label in table for channel in label.color)


def test_kidney_terminology_is_slicers():
    left, tumor = KIDNEY_LABELS[0].terminology, KIDNEY_LABELS[1].terminology
    context = "Segmentation category and type - DICOM master list"
    regions = "Anatomic codes - DICOM master list"
    assert left.to_slicer() == (
        f"{context}~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left~{regions}~^^~^^"
    )
    assert tumor.to_slicer() == (
        f"{context}~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~^^"
        f"~{regions}~SCT^64033007^Kidney~^^"
    )


@pytest.mark.parametrize("label", [*PHANTOM_LABELS, Label(200, "other", (1, 2, 3))], ids=lambda label: label.name)
def test_labels_survive_their_dictionary(label):
    assert Label.from_dict(label.to_dict()) == label


def test_terminology_has_seven_fields():
    code = ("SCT", "1", "x")
    assert len(Terminology(code, code).to_slicer().split("~")) == 7
