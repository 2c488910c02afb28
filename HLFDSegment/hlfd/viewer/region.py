"""Where feature maps lie: the regions that the segmenter finds, and the place of each stage's voxels in RAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame
from hlfd.preprocess.grid import Box, Grid, grid_over, triple

_ALIGNED = 4


@dataclass(frozen=True)
class Region:
    """One region of interest: what it shows, and its box in mm of the frame."""

    name: str
    box: Box

    def distance(self, frame: AlignedFrame | ObliqueFrame, position: Sequence[float]) -> float:
        """Return how far in mm a RAS position lies outside the box along the patient's axes; 0 inside."""
        ends = np.array([frame.to_ras(self.box.low), frame.to_ras(self.box.high)])
        outside = np.maximum(0.0, np.maximum(ends.min(0) - position, np.asarray(position) - ends.max(0)))
        return float(np.linalg.norm(outside))


def grid_affine(frame: AlignedFrame | ObliqueFrame, grid: Grid) -> NDArray[np.float64]:
    """Return the 4x4 IJK->RAS matrix in mm of a working grid whose arrays are (z, y, x) = (k, j, i)."""
    origin = np.array(frame.to_ras(grid.start))
    affine = np.eye(4)
    for axis in range(3):  # i runs along x, the last of the triple
        step = list(grid.start)
        step[2 - axis] += grid.spacing[2 - axis]
        affine[:3, axis] = np.array(frame.to_ras(triple(step))) - origin
    affine[:3, 3] = origin
    return affine


def stage_affine(affine: NDArray[np.float64], shape: Sequence[int], stage_shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the IJK->RAS matrix of a stage's feature grid.

    ``affine`` and ``shape`` (k, j, i) are of the network's input, ``stage_shape`` of the feature map. A stage of stride
    s has its first voxel in the middle of the first s voxels: index (s - 1) / 2 of the input.
    """
    stride = np.array([n / m for n, m in zip(shape[::-1], stage_shape[::-1])])
    to_input = np.diag([*stride, 1.0])
    to_input[:3, 3] = (stride - 1) / 2
    return affine @ to_input


def working_grid(box: Box, spacing: float, divisor: int, max_voxels: int) -> tuple[Grid, bool]:
    """Return the grid over ``box`` with sizes that are multiples of ``divisor``, and whether it was cut to fit."""
    grid = grid_over(box, spacing, divisor)
    if np.prod(grid.shape) <= max_voxels:
        return grid, False
    sizes = list(grid.shape)
    while np.prod(sizes) > max_voxels and max(sizes) > divisor:
        sizes[int(np.argmax(sizes))] -= divisor
    low = [(n - m) // 2 for n, m in zip(grid.shape, sizes)]
    return grid.crop(tuple(low), tuple(a + m for a, m in zip(low, sizes))), True


def part_of(
    grid: Grid, center: Sequence[float], edge_mm: float, divisor: int
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the index box (low, high) of the cube of about ``edge_mm`` around the index ``center`` (z, y, x).

    Its sizes are at least two blocks of ``divisor`` voxels where the grid has them, since instance norm refuses one,
    and at most the grid's; it is moved into the grid where it would leave it. It begins at a multiple of four voxels,
    so that the finer stages have the voxels that they have in the whole grid.
    """
    low, high = [], []
    for middle, spacing, count in zip(center, grid.spacing, grid.shape):
        size = min(count, divisor * max(2, round(edge_mm / spacing / divisor)))
        start = min(max(_ALIGNED * round((middle + 0.5 - size / 2) / _ALIGNED), 0), count - size)
        low.append(start)
        high.append(start + size)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def name_regions(boxes: Sequence[Box], midline: float, organ: str, sided: bool) -> tuple[Region, ...]:
    """Return the boxes with the names of what they show, such as "left kidney"; x grows to the patient's right."""
    if not sided:
        return tuple(Region(organ, box) for box in boxes)
    names = []
    for box in boxes:
        spans = box.low[2] < midline - 40.0 and box.high[2] > midline + 40.0
        side = "right" if (box.low[2] + box.high[2]) / 2 >= midline else "left"
        names.append(f"both {organ}s" if spans and len(boxes) == 1 else f"{side} {organ}")
    return tuple(Region(name, box) for name, box in zip(names, boxes))


def region_to_dict(region: Region, frame: AlignedFrame | ObliqueFrame) -> dict[str, Any]:
    """Return the region's name and RAS box (low, high) in mm."""
    ends = np.array([frame.to_ras(region.box.low), frame.to_ras(region.box.high)])
    return {"name": region.name, "low": ends.min(0).tolist(), "high": ends.max(0).tolist()}
