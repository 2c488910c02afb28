"""Segments carry the terminology that Slicer understands, and it comes back as it was."""

from __future__ import annotations

import pytest

from hlfd.labels import KIDNEY_LEFT, PHANTOM_LABELS, Label, Terminology

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
terminology = pytest.importorskip("HLFDSegmentLib.terminology")


@pytest.mark.parametrize("label", PHANTOM_LABELS, ids=lambda label: label.name)
def test_a_label_comes_back_from_its_segment(label):
    segment = slicer.vtkSegment()
    terminology.describe_segment(segment, label)
    assert terminology.label_of_segment(segment, label.value) == label


@pytest.mark.parametrize("label", PHANTOM_LABELS, ids=lambda label: label.name)
def test_slicer_reads_the_codes_of_the_tag(label):
    logic, entry = slicer.vtkSlicerTerminologiesModuleLogic(), slicer.vtkSlicerTerminologyEntry()
    logic.DeserializeTerminologyEntry(label.terminology.to_slicer(), entry)
    assert entry.GetCategoryObject().GetCodeValue() == label.terminology.category[1]
    assert entry.GetTypeObject().GetCodeValue() == label.terminology.type[1]
    assert entry.GetTypeObject().GetCodeMeaning() == label.terminology.type[2]
    modifier, region = label.terminology.modifier, label.terminology.region
    assert (entry.GetTypeModifierObject().GetCodeValue() or None) == (modifier[1] if modifier else None)
    assert (entry.GetRegionObject().GetCodeValue() or None) == (region[1] if region else None)


def test_the_tag_is_written_as_slicer_writes_it():
    logic, entry = slicer.vtkSlicerTerminologiesModuleLogic(), slicer.vtkSlicerTerminologyEntry()
    logic.DeserializeTerminologyEntry(KIDNEY_LEFT.terminology.to_slicer(), entry)
    assert logic.SerializeTerminologyEntry(entry) == KIDNEY_LEFT.terminology.to_slicer()


@pytest.mark.parametrize("entry", ["", "Kidney", "~~~~~~", "a~SCT^1^x~^^~^^~b~^^~^^", "a~SCT^1~SCT^2^y~^^~b~^^~^^"])
def test_a_malformed_tag_is_no_terminology(entry):
    assert Terminology.from_slicer(entry) is None


def test_a_label_without_terminology_keeps_slicers_default():
    segment = slicer.vtkSegment()
    default = terminology.segment_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
    terminology.describe_segment(segment, Label(9, "stone", (255, 255, 255)))
    assert terminology.segment_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName()) == default
