"""Name, colour and terminology of a segment <-> the engine's ``Label``."""

from __future__ import annotations

import slicer
import vtk

from hlfd.labels import Label, Terminology

LABEL_TAG = "HLFD.Label"  # names the label that a segment was made from, whatever the user renames it to


def segment_tag(segment: slicer.vtkSegment, tag: str) -> str:
    """Return the value of a segment's tag, empty where the segment does not have it."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else ""


def describe_segment(segment: slicer.vtkSegment, label: Label) -> None:
    """Give the segment the label's name, colour, terminology and the tag that finds it again."""
    segment.SetName(label.name)
    segment.SetColor(*(channel / 255.0 for channel in label.color))
    segment.SetTag(LABEL_TAG, label.name)
    if label.terminology is not None:
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), label.terminology.to_slicer())


def label_of_segment(segment: slicer.vtkSegment, value: int) -> Label:
    """Return the segment's name, colour (0..255) and terminology as a ``Label`` with this value."""
    red, green, blue = (round(channel * 255.0) for channel in segment.GetColor())
    entry = segment_tag(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
    return Label(value, segment.GetName() or f"segment {value}", (red, green, blue), Terminology.from_slicer(entry))
