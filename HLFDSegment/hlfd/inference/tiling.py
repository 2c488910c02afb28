"""One network pass over a region, or several with halo where one pass would need too much memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hlfd.events import CancelToken
from hlfd.models.package import NetworkEntry
from hlfd.preprocess.intensity import window_channels

HALO_VOXELS = 32
"""Context around a tile; beyond it the effective receptive field of the networks here has faded."""

Index = tuple[int, int, int]


class Backend(Protocol):
    """One network on one device."""

    device: str
    name: str

    def infer(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (classes, z, y, x) of an input (1, channels, z, y, x); sizes are multiples of the divisor."""

    def bytes_per_voxel(self) -> float:
        """Return how much memory one pass needs per input voxel."""


def split(
    low: Index, high: Index, shape: Index, halo: int, divisor: int, limit: float
) -> Iterator[tuple[Index, Index]]:
    """Halve the longest axis at multiples of ``divisor`` until each tile with its halo has at most ``limit`` voxels."""
    outer_low, outer_high = with_halo(low, high, shape, halo)
    if np.prod(np.subtract(outer_high, outer_low)) <= limit:
        yield low, high
        return
    axis = int(np.argmax(np.subtract(high, low)))
    middle = low[axis] + (high[axis] - low[axis]) // 2 // divisor * divisor
    # Smaller tiles would consist of halo for the most part: memory hardly falls while the work grows many times.
    if high[axis] - low[axis] <= 2 * halo or middle == low[axis]:
        yield low, high
        return
    yield from split(low, _replaced(high, axis, middle), shape, halo, divisor, limit)
    yield from split(_replaced(low, axis, middle), high, shape, halo, divisor, limit)


def _replaced(index: Index, axis: int, value: int) -> Index:
    z, y, x = (value if n == axis else v for n, v in enumerate(index))
    return z, y, x


def with_halo(low: Index, high: Index, shape: Index, halo: int) -> tuple[Index, Index]:
    """Return the index box grown by ``halo`` voxels inside ``shape``."""
    a, b, c = (max(0, v - halo) for v in low)
    d, e, f = (min(n, v + halo) for v, n in zip(high, shape))
    return (a, b, c), (d, e, f)


def predict(
    backend: Backend, entry: NetworkEntry, hu: NDArray[np.float32], memory_mb: float, cancel: CancelToken | None = None
) -> NDArray[np.float32]:
    """Return the logits (classes, z, y, x) of ``hu`` (z, y, x), whose sizes are multiples of the entry's divisor.

    The logits and the network's own memory together stay below ``memory_mb`` MiB where tiles can make them.
    """
    shape: Index = hu.shape
    logits_mb = 2 * hu.size * len(entry.classes) * 4 / 2**20  # the backend's own and our copy
    limit = max(memory_mb - logits_mb, memory_mb / 4) * 2**20 / backend.bytes_per_voxel()
    halo = -(-HALO_VOXELS // entry.divisor) * entry.divisor
    tiles = list(split((0, 0, 0), shape, shape, halo, entry.divisor, limit))
    if len(tiles) == 1:
        return backend.infer(window_channels(hu, entry.windows))
    logits = np.empty((len(entry.classes), *shape), np.float32)
    for low, high in tiles:
        if cancel is not None:
            cancel.check()
        outer_low, outer_high = with_halo(low, high, shape, halo)
        part = backend.infer(window_channels(hu[_slices(outer_low, outer_high)], entry.windows))
        inner = _slices(np.subtract(low, outer_low), np.subtract(high, outer_low))
        logits[(slice(None), *_slices(low, high))] = part[(slice(None), *inner)]
    return logits


def _slices(low: object, high: object) -> tuple[slice, slice, slice]:
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high))  # type: ignore[call-overload]
    return z, y, x
