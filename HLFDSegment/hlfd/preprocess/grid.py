"""A regular grid in a frame's millimetres, and the boxes that regions are made of.

All triples are (z, y, x). A frame is the patient's axes, see ``preprocess.frame``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Triple = tuple[float, float, float]


def triple(values: object) -> Triple:
    """Return three numbers as a tuple of floats."""
    z, y, x = (float(v) for v in values)  # type: ignore[attr-defined]
    return z, y, x


@dataclass(frozen=True)
class Box:
    """A box from ``low`` to ``high`` (outer edges of its voxels) in mm of the frame."""

    low: Triple
    high: Triple

    def grown(self, margin: float) -> Box:
        """Return the box with ``margin`` mm added on every side."""
        return Box(triple(v - margin for v in self.low), triple(v + margin for v in self.high))

    def clipped(self, other: Box) -> Box:
        """Return the part inside ``other``; a box outside of it shrinks to a point on its border."""
        low = triple(min(max(v, a), b) for v, a, b in zip(self.low, other.low, other.high))
        high = triple(min(max(v, a), b) for v, a, b in zip(self.high, other.low, other.high))
        return Box(low, high)

    def touches(self, other: Box) -> bool:
        """Return whether the boxes share a point."""
        return all(a <= d and c <= b for a, b, c, d in zip(self.low, self.high, other.low, other.high))

    def union(self, other: Box) -> Box:
        """Return the smallest box around both."""
        low = triple(min(a, b) for a, b in zip(self.low, other.low))
        return Box(low, triple(max(a, b) for a, b in zip(self.high, other.high)))


@dataclass(frozen=True)
class Grid:
    """Voxels at ``start + index * spacing`` (centres, mm of the frame)."""

    start: Triple
    spacing: Triple
    shape: tuple[int, int, int]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return math.prod(self.spacing) / 1000.0

    def box(self, low: object = (0, 0, 0), high: object = None) -> Box:
        """Return the box around the voxels with indices ``low`` <= index < ``high``, all by default."""
        first, last = triple(low), triple(self.shape if high is None else high)
        edges = [(o + s * (a - 0.5), o + s * (b - 0.5)) for o, s, a, b in zip(self.start, self.spacing, first, last)]
        return Box(triple(e[0] for e in edges), triple(e[1] for e in edges))

    def slices(self, box: Box) -> tuple[slice, slice, slice]:
        """Return the slices of the voxels whose centres lie in ``box``, cut off at the grid's beginning."""
        z, y, x = (
            slice(max(0, math.ceil((a - o) / s)), max(1, math.floor((b - o) / s) + 1))
            for o, s, a, b in zip(self.start, self.spacing, box.low, box.high)
        )
        return z, y, x

    def crop(self, low: tuple[int, ...], high: tuple[int, ...]) -> Grid:
        """Return the grid of the voxels with indices ``low`` <= index < ``high``."""
        start = triple(o + s * a for o, s, a in zip(self.start, self.spacing, low))
        z, y, x = (b - a for a, b in zip(low, high))
        return Grid(start, self.spacing, (z, y, x))


def grid_over(box: Box, spacing: float, divisor: int = 1) -> Grid:
    """Return the isotropic grid that covers ``box``, its sizes rounded up to multiples of ``divisor``."""
    sizes = [max(1, math.ceil((b - a) / spacing - 1e-3)) for a, b in zip(box.low, box.high)]
    z, y, x = (-(-n // divisor) * divisor for n in sizes)
    return Grid(triple(a + spacing / 2 for a in box.low), (spacing,) * 3, (z, y, x))


def merge_boxes(boxes: list[Box]) -> list[Box]:
    """Return the boxes with overlapping ones joined, so that every voxel is refined once."""
    merged: list[Box] = []
    for box in boxes:
        while touching := [other for other in merged if other.touches(box)]:
            for other in touching:
                merged.remove(other)
                box = box.union(other)
        merged.append(box)
    return merged
