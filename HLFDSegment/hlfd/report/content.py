"""What a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlfd.inference.result import SegmentationResult
from hlfd.models.package import ModelPackage
from hlfd.volume import Volume


@dataclass(frozen=True)
class Agreement:
    """Agreement with a known truth: the groups of ``hlfd.metrics.evaluate`` and what the truth is, in words."""

    truth: str
    groups: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ReportInput:
    """One segmented CT: where it came from, the result, the model, and the agreement with the truth where known."""

    name: str
    source: Path
    segmentation: Path
    volume: Volume
    result: SegmentationResult
    package: ModelPackage
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Picture:
    """A PNG file with its caption."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures of one result; ``drawn_by`` says by what, ``note`` why it was not Slicer where it was not."""

    pictures: tuple[Picture, ...]
    drawn_by: str
    note: str = ""
