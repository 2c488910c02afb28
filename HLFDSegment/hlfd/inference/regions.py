"""From the locator's label map to the regions that the refiner looks at.

Per side the largest component of the wanted organs after an opening, away from spine and back, plus a margin
(found in a pilot on simulated CT to remove most of what bowel and spleen contribute by mistake).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import ModelError
from hlfd.models.package import ModelPackage
from hlfd.preprocess.components import Part, components
from hlfd.preprocess.grid import Box, Grid, merge_boxes
from hlfd.preprocess.morphology import dilate, opening

SIDES = ("left", "right")
_HORSESHOE_MM = 40.0


@dataclass(frozen=True)
class RegionRules:
    """How regions are made and refined organs kept; the keys of ``region`` in ``model.json``."""

    organs: tuple[str, ...] = ("kidney",)
    """Classes of the locator that make up the organ, its lesions included if the locator has them."""
    sided: bool = True
    """One component per side (kidneys) instead of one in all (liver)."""
    margin_mm: float = 16.0
    """Added around the component on every side."""
    min_ml: float = 20.0
    """Smaller components of the locator are no organ."""
    max_ml: float = 5000.0
    """Larger components are no organ."""
    lateral_mm: float = 15.0
    """A component centred nearer to the midline is no organ of one side, unless it reaches across."""
    posterior_share: float = 0.2
    """A component centred in this share of the body's depth, counted from the back, is taken only where its side has no
    other: muscles of the back lie there; of 348 simulated kidneys 1 did, and the 0.5th percentile was 0.23."""
    opening_mm: float = 3.0
    """Radius of the opening that parts an organ from what it touches, in both passes."""
    support_mm: float = 16.0
    """Refined voxels farther than this from what the locator found are dropped."""
    contact_share: float = 0.05
    """A lesion of whose surface less lies against the organ is no lesion of it, such as a sheet along the liver; of 96
    simulated lesions above 0.1 ml one had less, the 1st percentile was 0.08."""
    keep_ml: float = 5.0
    """Smaller refined components are dropped."""
    hole_ml: float = 0.5
    """Enclosed background up to this size is given to the organ."""

    def opening_radius(self, grid: Grid) -> int:
        """Return the radius of the opening in voxels of ``grid``."""
        return round(self.opening_mm / min(grid.spacing))

    @classmethod
    def of(cls, package: ModelPackage) -> RegionRules:
        """Read the rules of a package; keys that are not rules (such as ``class_to_label``) are left alone."""
        known = {key: package.region[key] for key in cls.__dataclass_fields__ if key in package.region}
        if "organs" in known:
            known["organs"] = tuple(known["organs"])
        if "sided" not in known:
            known["sided"] = any(label.name.startswith("left ") for label in package.labels)
        return cls(**known)


def side_of(x: float, midline: float) -> str:
    """Return ``left`` or ``right`` of the patient: x of the frame increases to the patient's right."""
    return SIDES[int(x >= midline)]


def spans_midline(part: Part, grid: Grid, midline: float) -> bool:
    """Return whether a component reaches 40 mm to both sides of the midline, as a horseshoe kidney does."""
    start, step = grid.start[2], grid.spacing[2]
    low, high = start + step * part.low[2], start + step * (part.high[2] - 1)
    return min(midline - low, high - midline) >= _HORSESHOE_MM


def is_lateral(part: Part, grid: Grid, midline: float, distance: float) -> bool:
    """Return whether a component is centred ``distance`` mm beside the midline, or is a horseshoe across it."""
    center = grid.start[2] + grid.spacing[2] * part.centroid[2]
    return abs(center - midline) >= distance or spans_midline(part, grid, midline)


def choose_parts(parts: tuple[Part, ...], grid: Grid, midline: float, rules: RegionRules, min_ml: float) -> list[Part]:
    """Return the largest plausible component, one per side where the organ has sides, left first."""
    plausible = [p for p in parts if min_ml <= p.voxels * grid.voxel_ml <= rules.max_ml]
    if not rules.sided:
        return sorted(plausible, key=lambda p: -p.voxels)[:1]
    chosen = []
    for side in SIDES:
        here = [
            p
            for p in plausible
            if side_of(grid.start[2] + grid.spacing[2] * p.centroid[2], midline) == side
            and is_lateral(p, grid, midline, rules.lateral_mm)
        ]
        chosen += sorted(here, key=lambda p: -p.voxels)[:1]
    return chosen


@dataclass(frozen=True)
class Found:
    """What the locator found: boxes to refine (mm of the frame), and where the organ may be on the locator's grid."""

    boxes: list[Box]
    support: NDArray[np.bool_]
    grid: Grid

    def outside(self, grid: Grid) -> NDArray[np.bool_]:
        """Return which voxels of ``grid`` lie outside of the support (nearest voxel of the locator's grid)."""
        return ~self.support[np.ix_(*self._nearest(grid, [np.arange(count) for count in grid.shape]))]

    def with_masses(self, mask: NDArray[np.bool_], grid: Grid, margin_mm: float) -> Found:
        """Return what was found with ``mask`` (z, y, x) on ``grid`` in the support, and ``margin_mm`` around it."""
        masses = np.zeros_like(self.support)
        masses[tuple(self._nearest(grid, np.nonzero(mask)))] = True
        return replace(self, support=self.support | dilate(masses, round(margin_mm / min(self.grid.spacing))))

    def _nearest(self, grid: Grid, indices: Sequence[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
        """Return the nearest voxels of the locator's grid to ``indices`` of ``grid``, both along (z, y, x)."""
        places = []
        for start, step, index, o, s, n in zip(
            grid.start, grid.spacing, indices, self.grid.start, self.grid.spacing, self.grid.shape
        ):
            nearest = np.floor((start + step * index - o) / s + 0.5)
            places.append(np.clip(nearest, 0, n - 1).astype(np.intp))
        return places


def find_regions(
    labels: NDArray[np.uint8],
    grid: Grid,
    classes: tuple[str, ...],
    midline: float,
    rules: RegionRules,
    back: float = -np.inf,
) -> Found:
    """Return the regions to refine; none when the locator's ``labels`` hold no plausible organ.

    ``back`` is the y in mm of the frame behind which a component is taken for muscle, see ``posterior_share``.
    """
    mask = np.isin(labels, _indices(classes, rules.organs))
    found = components(opening(mask, rules.opening_radius(grid)), touching=False)
    parts = _without_back(found.parts, grid, midline, rules, back)
    boxes, taken = [], set()
    for part in choose_parts(parts, grid, midline, rules, rules.min_ml):
        box = grid.box(part.low, part.high).grown(rules.margin_mm)
        near = _neighbours(box, parts, grid)
        taken |= {part.label, *(other.label for other in near)}
        for other in near:
            box = box.union(grid.box(other.low, other.high).grown(rules.margin_mm))
        boxes.append(box)
    support = np.isin(found.labels, sorted(taken))
    if taken:
        support = dilate(support, round(rules.support_mm / min(grid.spacing)))
    return Found(merge_boxes(boxes), support, grid)


def _without_back(
    parts: tuple[Part, ...], grid: Grid, midline: float, rules: RegionRules, back: float
) -> tuple[Part, ...]:
    """Leave out the components centred behind ``back``, except on a side that has no plausible one before it."""

    def side(part: Part) -> str:
        return side_of(grid.start[2] + grid.spacing[2] * part.centroid[2], midline) if rules.sided else ""

    front = tuple(part for part in parts if grid.start[1] + grid.spacing[1] * part.centroid[1] >= back)
    served = {side(part) for part in choose_parts(front, grid, midline, rules, rules.min_ml)}
    kept = {part.label for part in front}
    return tuple(part for part in parts if part.label in kept or side(part) not in served)


def _neighbours(box: Box, parts: tuple[Part, ...], grid: Grid) -> list[Part]:
    """Return the components of 1 ml or more that reach into a region: parts of one organ cut by a mass."""
    return [p for p in parts if p.voxels * grid.voxel_ml >= 1.0 and box.touches(grid.box(p.low, p.high))]


def _indices(classes: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    missing = [name for name in names if name not in classes]
    if missing:
        raise ModelError(f"The locator has no class {missing}; it has {list(classes)}.", "Correct region.organs.")
    return [classes.index(name) for name in names]
