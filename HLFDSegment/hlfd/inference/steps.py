"""What the steps of a segmentation hand to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.quality_image import ImageFacts, LocatorFacts, OrganFacts
from hlfd.inference.quality_lesions import LesionEvidence, RegionEvidence
from hlfd.inference.regions import Found
from hlfd.inference.result import SegmentationResult
from hlfd.inference.roles import Roles
from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame
from hlfd.preprocess.grid import Box, Grid


@dataclass(frozen=True)
class Located:
    """The regions of a volume: boxes in mm of ``frame``, the patient's middle, what was odd, and the facts."""

    frame: AlignedFrame | ObliqueFrame
    boxes: tuple[Box, ...]
    midline: float
    warnings: tuple[str, ...]
    image: ImageFacts
    locator: LocatorFacts | None


@dataclass(frozen=True)
class Regions:
    """What to refine: boxes, how surely each holds an organ, what the locator found, None without a locator, and how
    far boxes may grow."""

    boxes: list[Box]
    shares: list[float]
    found: Found | None = None
    locator: LocatorFacts | None = None
    limits: Box | None = None


@dataclass(frozen=True)
class Refined:
    """One region as the refiner sees it: its box, exact grid, logits (classes, z, y, x), labels (z, y, x), middle."""

    box: Box
    grid: Grid
    logits: NDArray[np.float32]
    labels: NDArray[np.uint8]
    plane: float

    def mass(self, roles: Roles) -> int:
        """Return the number of voxels of masses."""
        return int(np.isin(self.labels, roles.lesions).sum())


@dataclass(frozen=True)
class Judged:
    """What a refined region shows, what was doubtful and left out of it, and what is to be said of it."""

    organ: OrganFacts
    lesions: RegionEvidence
    left_out_ml: tuple[float, ...]
    warning: str | None


@dataclass(frozen=True)
class Exported:
    """One refined region: its box, the plane between the sides, and the index box that was written."""

    box: Box
    plane: float
    low: list[int]
    high: list[int]
    judged: Judged | None = None


@dataclass(frozen=True)
class Examined:
    """A result, and the numbers that its confidences and warnings are made of: one evidence per lesion."""

    result: SegmentationResult
    image: ImageFacts
    locator: LocatorFacts | None
    organs: tuple[OrganFacts, ...]
    evidence: tuple[LesionEvidence | None, ...]
