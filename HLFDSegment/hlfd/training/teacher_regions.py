"""Where the teacher runs in a prepared case: boxes around the labelled organ, in voxels of the case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import ConfigError, EmptyInputError
from hlfd.preprocess.components import components
from hlfd.preprocess.frame import AIR_HU
from hlfd.preprocess.grid import Box, merge_boxes, triple

Index = tuple[int, int, int]
_LEAST_SHARE = 0.02  # components below this share of the largest one are crumbs of a label map


@dataclass(frozen=True)
class Region:
    """A box of a case: first voxel (z, y, x), which may lie outside, and number of voxels."""

    low: Index
    shape: Index

    def strides(self, feature: Sequence[int], name: str) -> Index:
        """Return how many voxels one step of a feature map of shape ``feature`` takes; uneven ones are refused."""
        if any(n % f for n, f in zip(self.shape, feature)):
            raise ConfigError(
                f'The teacher\'s tap "{name}" has shape {tuple(feature)} for {self.shape} voxels; whole strides were '
                "expected.",
                "Leave this tap out, or run the teacher beside the student (no cache).",
            )
        z, y, x = (n // f for n, f in zip(self.shape, feature))
        return z, y, x

    def holds(self, point: NDArray[np.integer]) -> bool:
        """Return whether a voxel index of the case lies inside."""
        return bool(np.all(point >= self.low) and np.all(point < np.add(self.low, self.shape)))

    def to_dict(self) -> dict[str, Any]:
        """Return the region for JSON."""
        return {"low": list(self.low), "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Region:
        """Read what ``to_dict`` wrote."""
        return cls(_index(data["low"]), _index(data["shape"]))


def _index(values: Sequence[Any]) -> Index:
    z, y, x = (int(v) for v in values)
    return z, y, x


def organ_regions(
    label: NDArray[np.uint8], margin: int, least: Sequence[int], divisor: int, max_voxels: int
) -> list[Region]:
    """Return the boxes around each labelled component of a case (z, y, x), grown by ``margin`` voxels and merged.

    Each is at least ``least`` voxels large, a multiple of ``divisor`` along every axis, more than one such block in
    all, and split above ``max_voxels``. Raises ``EmptyInputError`` for a map without labels.
    """
    parts = components(np.asarray(label) > 0).parts
    if not parts:
        raise EmptyInputError("The label map is empty, so there is no region for the teacher.")
    smallest = _LEAST_SHARE * max(part.voxels for part in parts)
    boxes = [
        Box(triple(np.subtract(part.low, margin)), triple(np.add(part.high, margin)))
        for part in parts
        if part.voxels >= smallest
    ]
    limits = Box((0.0, 0.0, 0.0), triple(label.shape))
    regions = [_fit(box.clipped(limits), label.shape, least, divisor) for box in merge_boxes(boxes)]
    return [piece for region in regions for piece in _split(region, least, divisor, max_voxels)]


def _fit(box: Box, shape: Sequence[int], least: Sequence[int], divisor: int) -> Region:
    """Return the box as a region: large enough, of whole blocks, inside the case where it can be."""
    sizes = [-(-max(round(high - low), n) // divisor) * divisor for low, high, n in zip(box.low, box.high, least)]
    if max(sizes) == divisor:
        sizes[0] = 2 * divisor  # instance norm refuses a single block
    lows = []
    for low, high, size, n in zip(box.low, box.high, sizes, shape):
        centred = round((low + high - size) / 2)
        lows.append(min(max(centred, 0), n - size) if size <= n else (n - size) // 2)
    return Region(_index(lows), _index(sizes))


def _split(region: Region, least: Sequence[int], divisor: int, max_voxels: int) -> Iterator[Region]:
    """Halve the longest axis with an overlap of one patch, so that every patch lies inside one of the pieces."""
    axis = int(np.argmax(region.shape))
    size = region.shape[axis]
    overlap = -(-least[axis] // divisor) * divisor
    half = -(-(size + overlap) // (2 * divisor)) * divisor
    if np.prod(region.shape) <= max_voxels or half >= size:
        yield region
        return
    for start in (0, size - half):
        low, shape = list(region.low), list(region.shape)
        low[axis] += start
        shape[axis] = half
        yield from _split(Region(_index(low), _index(shape)), least, divisor, max_voxels)


def cut_region(array: NDArray[Any], region: Region, fill: int = AIR_HU) -> NDArray[Any]:
    """Return the part of a case's array (z, y, x) in a region; ``fill`` outside of the case."""
    high = np.add(region.low, region.shape)
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(region.low, high, array.shape))
    block = np.asarray(array[inside])
    padding = [(max(-a, 0), max(b - n, 0)) for a, b, n in zip(region.low, high, array.shape)]
    return np.pad(block, padding, constant_values=fill) if any(map(any, padding)) else block
