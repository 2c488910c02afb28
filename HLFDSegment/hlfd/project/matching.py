"""Which label of a model each segment of a user stands for: by terminology, then by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hlfd.labels import Label


@dataclass(frozen=True)
class SegmentDescription:
    """A segment as its owner describes it; ``terminology`` is the entry of Slicer's terminology tag, may be empty."""

    id: str
    name: str
    terminology: str = ""
    tag: str = ""
    """The label that the segment was made from by HLFD Segment, whatever it was renamed to."""


def match_segments(segments: Sequence[SegmentDescription], labels: Sequence[Label]) -> dict[str, str]:
    """Return the label name for each segment id, empty where none fits or the choice is not clear."""
    raise NotImplementedError
