"""Label arrays cut to what they hold: label maps are mostly background, and whole scans are large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.preprocess.components import index_box
from hlfd.volume import LabelMap


def crop_to_labels(array: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
    """Return the array (k, j, i) cut to its labels, one voxel where it has none, and the index where the cut begins."""
    low, high = index_box(array)
    if low == high:
        return array[:1, :1, :1], (0, 0, 0)
    k, j, i = low
    return array[tuple(slice(begin, end) for begin, end in zip(low, high))], (k, j, i)


def values_in(array: NDArray[np.uint8]) -> frozenset[int]:
    """Return the values above 0 that occur in the array."""
    seen = np.zeros(256, bool)
    seen[array] = True
    return frozenset(int(value) for value in np.flatnonzero(seen) if value)


def cropped(label_map: LabelMap) -> LabelMap:
    """Return the label map cut to its labels, at the same place in RAS."""
    array, (k, j, i) = crop_to_labels(label_map.array)
    affine = label_map.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([i, j, k], dtype=float)
    return LabelMap(np.ascontiguousarray(array), affine, label_map.labels)


@dataclass(frozen=True)
class Part:
    """The part of a label map that holds labels: its array (k, j, i), the index where it begins, the values in it."""

    array: NDArray[np.uint8]
    start: tuple[int, int, int]
    values: frozenset[int]


def labelled_part(label_map: LabelMap) -> Part:
    """Return the labelled part: what costs time in a large label map, and may be done in any thread."""
    array, start = crop_to_labels(label_map.array)
    array = np.ascontiguousarray(array)
    return Part(array, start, values_in(array))
