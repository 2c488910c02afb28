"""The quality signal of a fine-tuned package: that of its base, with the local scans among what it knows.

A base that takes the local scanner for unlike its training marks nothing there; the version that has learned from its
scans must. Only what is measured before the refiner is widened: image and locator are as they were in the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from hlfd.config import SegmentSettings
from hlfd.events import CancelToken
from hlfd.inference.segmenter import Segmenter
from hlfd.io import read_volume
from hlfd.models.package import ModelPackage
from hlfd.training.quality import limits, without_quality

Edge = Optional[float]


def carried_quality(
    base: ModelPackage, images: Sequence[Path], device: str = "auto", cancel: CancelToken | None = None
) -> dict[str, Any]:
    """Return ``quality`` of ``base`` for a version that learned from ``images``; empty where the base has none."""
    known = base.metadata.get("quality")
    if not known:
        return {}
    quality = {"taken_from": f"{base.name} {base.version}", **known}
    if not quality.get("limits"):
        return quality
    segmenter = Segmenter(without_quality(base), SegmentSettings(device=device))
    scans = []
    for image in images:
        located = segmenter.locate(read_volume(image), cancel=cancel)
        locator = {} if located.locator is None else asdict(located.locator)
        scans.append({"image": asdict(located.image), "locator": locator, "organs": []})
    return {**quality, "limits": widened(quality["limits"], limits(scans))}


def widened(known: Mapping[str, Sequence[Edge]], local: Mapping[str, Sequence[Edge]]) -> dict[str, list[Edge]]:
    """Return the ranges (low, high; None for no limit) that hold both; names that ``known`` lacks stay away."""

    def both(name: str) -> list[Edge]:
        low, high = known[name]
        near, far = local.get(name, (low, high))
        return [
            None if low is None or near is None else min(low, near),
            None if high is None or far is None else max(high, far),
        ]

    return {name: both(name) for name in known}
