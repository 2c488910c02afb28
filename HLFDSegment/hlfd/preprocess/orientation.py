"""Views of a volume whose axes run nearest to superior, anterior, right, whatever the order in the file.

Nothing is copied and no value changes, so files of one scan with flipped or permuted axes become one array.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.volume import Volume

ALIGNED_DEGREES = 2.0
"""Axes off the patient's axes by less than this are taken as aligned: less than a refiner voxel over a kidney."""


@dataclass(frozen=True)
class Orientation:
    """How array axes map to (S, A, R): ``axes`` permutes an array (k, j, i), then ``flips`` are reversed."""

    axes: tuple[int, int, int]
    flips: tuple[int, ...]

    def view(self, array: NDArray) -> NDArray:
        """Return the (z, y, x) view of a (k, j, i) array, x increasing to the right, y anterior, z superior."""
        return np.flip(array.transpose(self.axes), self.flips)


@dataclass(frozen=True)
class Canonical:
    """A volume seen along the patient's axes: ``array`` (z, y, x) view, ``affine`` of that view, ``spacing`` (z, y, x).

    ``aligned`` is False for an oblique volume, whose axes only come nearest to the patient's.
    """

    array: NDArray
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    orientation: Orientation
    aligned: bool


def find_orientation(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[Orientation, NDArray]:
    """Return the orientation of a (k, j, i) grid and the 4x4 affine of its (x, y, z) view, both exact."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    columns = max(itertools.permutations(range(3)), key=lambda p: sum(abs(directions[w, c]) for w, c in enumerate(p)))
    result = affine.copy()
    origin = affine[:3, 3].copy()
    flips = []
    for world, column in enumerate(columns):
        reverse = directions[world, column] < 0
        result[:3, world] = affine[:3, column] * (-1 if reverse else 1)
        if reverse:
            origin = origin + affine[:3, column] * (shape[2 - column] - 1)
            flips.append(2 - world)
    result[:3, 3] = origin
    x, y, z = columns
    return Orientation((2 - z, 2 - y, 2 - x), tuple(flips)), result


def canonical(volume: Volume) -> Canonical:
    """Return ``volume`` seen along (S, A, R); rounding of 1e-6 mm hides the floating-point noise of axis flips."""
    orientation, affine = find_orientation(volume.affine, volume.shape)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.diag(affine[:3, :3] / lengths)
    aligned = bool(cosines.min() > np.cos(np.radians(ALIGNED_DEGREES)))
    x, y, z = (round(float(length), 6) for length in lengths)
    return Canonical(orientation.view(volume.array), affine, (z, y, x), orientation, aligned)
