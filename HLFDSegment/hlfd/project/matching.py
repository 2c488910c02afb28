"""Which label of a model each segment of a user stands for: by terminology, then by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hlfd.labels import Label, Terminology

_LESIONS = ("tumor", "cyst")
_SAME_WORD = {"tumour": "tumor", "neoplasm": "tumor", "carcinoma": "tumor", "rcc": "tumor", "hcc": "tumor"}
_SAME_WORD |= {"l": "left", "lt": "left", "r": "right", "rt": "right", "renal": "kidney", "hepatic": "liver"}
_NO_MEANING = ("", "segment", "label", "the", "of")


@dataclass(frozen=True)
class SegmentDescription:
    """A segment as its owner describes it; ``terminology`` is the entry of Slicer's terminology tag, may be empty."""

    id: str
    name: str
    terminology: str = ""
    tag: str = ""
    """The label that the segment was made from by HLFD Segment."""
    empty: bool = False
    """Whether it is known to hold no voxel."""


def match_segments(segments: Sequence[SegmentDescription], labels: Sequence[Label]) -> dict[str, str]:
    """Return the label name for each segment id, empty where none fits, it is not clear which, or nothing is in it.

    What a segment was made from and its terminology go before its name, unless the name clearly says another label:
    then the user has to choose.
    """
    return {segment.id: "" if segment.empty else _match(segment, labels) for segment in segments}


def _match(segment: SegmentDescription, labels: Sequence[Label]) -> str:
    known = {label.name for label in labels}
    made_from = segment.tag if segment.tag in known else _by_terminology(segment.terminology, labels)
    named = _by_name(segment.name, labels)
    if made_from and named and made_from != named:
        return ""
    return made_from or named


def _by_terminology(entry: str, labels: Sequence[Label]) -> str:
    terms = Terminology.from_slicer(entry)
    if terms is None:
        return ""
    found = [label.name for label in labels if label.terminology is not None and _same(terms, label.terminology)]
    return found[0] if len(found) == 1 else ""


def _same(found: Terminology, known: Terminology) -> bool:
    """Return whether the codes agree; a segment that states no region or modifier may be any of those."""
    pairs = ((found.modifier, known.modifier), (found.region, known.region))
    return found.type[:2] == known.type[:2] and all(a is None or (b is not None and a[:2] == b[:2]) for a, b in pairs)


def _by_name(name: str, labels: Sequence[Label]) -> str:
    words = _words(name)
    lesions = words & set(_LESIONS)
    fitting = []
    for label in labels:
        own = _words(label.name)
        if own & set(_LESIONS) == lesions and (words <= own or own <= words):
            fitting.append(label.name)
    return fitting[0] if words and len(fitting) == 1 else ""


def _words(name: str) -> set[str]:
    parts = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    single = [part[:-1] if part.endswith("s") and len(part) > 3 else part for part in parts]
    return {_SAME_WORD.get(part, part) for part in single} - set(_NO_MEANING)
