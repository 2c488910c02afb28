"""Diameters of masks in mm: longest in 3-D, longest axial and perpendicular to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DIRECTIONS = 192


def sphere_directions(count: int) -> NDArray[np.float64]:
    """Return ``count`` unit vectors (count, 3) spread over a half sphere (Fibonacci lattice)."""
    n = np.arange(count) + 0.5
    z = n / count
    angle = np.pi * (1 + 5**0.5) * n
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def row_ends(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the indices (n, axes) of the first and last voxel of every row along the last axis.

    All corners of the convex hull of the voxel centres are among them.
    """
    rows = np.nonzero(mask.any(axis=-1))
    lines = mask[rows]
    first = lines.argmax(axis=1)
    last = lines.shape[1] - 1 - lines[:, ::-1].argmax(axis=1)
    return np.stack([np.concatenate([axis, axis]) for axis in rows] + [np.concatenate([first, last])], axis=1)


def longest_pair(points: NDArray[np.float64], directions: NDArray[np.float64]) -> tuple[int, int]:
    """Return the indices of the two points farthest apart, among those that are extreme in some direction.

    With 192 directions the distance falls short of the true one by less than 0.5 %.
    """
    extreme: set[int] = set()
    for begin in range(0, len(directions), 32):
        along = points @ directions[begin : begin + 32].T
        extreme.update(along.argmax(axis=0).tolist(), along.argmin(axis=0).tolist())
    chosen = np.array(sorted(extreme))
    squares = ((points[chosen][:, None] - points[chosen][None]) ** 2).sum(-1)
    a, b = np.unravel_index(int(squares.argmax()), squares.shape)
    return int(chosen[a]), int(chosen[b])


def voxel_length(direction: NDArray[np.float64], affine: NDArray[np.float64]) -> float:
    """Return the extent in mm of one voxel along ``direction``, as an ellipsoid with the voxel's axes."""
    return float(np.linalg.norm(affine[:3, :3].T @ direction))


def diameter(points: NDArray[np.float64], affine: NDArray[np.float64]) -> float:
    """Return the longest 3-D diameter in mm of voxels with RAS centres ``points``, outer edges included."""
    a, b = longest_pair(points, sphere_directions(_DIRECTIONS))
    between = points[b] - points[a]
    length = float(np.linalg.norm(between))
    if length == 0:
        return float(np.linalg.norm(affine[:3, :3], axis=0).max())
    return length + voxel_length(between / length, affine)


def to_ras(indices: NDArray, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return RAS mm (n, 3) of canonical voxel indices (n, 3) in (z, y, x)."""
    return indices[:, ::-1].astype(np.float64) @ affine[:3, :3].T + affine[:3, 3]


def axial_diameters(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> tuple[float, float]:
    """Return the longest in-slice diameter and the longest perpendicular to it in that slice, in mm, as in RECIST."""
    best = (0.0, 0.0)
    angles = np.linspace(0, np.pi, 48, endpoint=False)
    directions = np.cos(angles)[:, None] * _unit(affine[:3, 0]) + np.sin(angles)[:, None] * _unit(affine[:3, 1])
    for plane in mask:
        if np.count_nonzero(plane) * 4 * _area(affine) < np.pi * best[0] ** 2 / 16 or not plane.any():
            continue  # far too small to hold a longer diameter, unless it were a thread
        points = to_ras(np.pad(row_ends(plane), ((0, 0), (1, 0))), affine)
        a, b = longest_pair(points, directions)
        between = points[b] - points[a]
        length = float(np.linalg.norm(between))
        unit = between / length if length else _unit(affine[:3, 0])
        total = length + voxel_length(unit, affine)
        if total > best[0]:
            best = total, _perpendicular(plane, unit, affine)
    return best


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def _area(affine: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(affine[:3, 0]) * np.linalg.norm(affine[:3, 1]))


def _perpendicular(plane: NDArray[np.bool_], unit: NDArray[np.float64], affine: NDArray[np.float64]) -> float:
    """Return the longest chord at right angles to ``unit`` in the slice, in mm."""
    across = _unit(np.cross(_unit(np.cross(affine[:3, 0], affine[:3, 1])), unit))
    points = to_ras(np.pad(np.argwhere(plane), ((0, 0), (1, 0))), affine)
    step = float(np.linalg.norm(affine[:3, :2], axis=0).max())
    lines = np.rint(points @ unit / step).astype(np.intp)
    lines -= lines.min()
    position = points @ across
    high, low = np.full(lines.max() + 1, -np.inf), np.full(lines.max() + 1, np.inf)
    np.maximum.at(high, lines, position)
    np.minimum.at(low, lines, position)
    return float((high - low).max()) + voxel_length(across, affine)
