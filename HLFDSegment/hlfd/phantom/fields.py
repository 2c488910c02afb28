"""Implicit shapes: approximate signed distances in mm, negative inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

import numpy as np
import torch
from numpy.typing import NDArray

Coordinates = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Point = Union[Sequence[float], NDArray[np.float64]]


def ellipsoid(at: Coordinates, centre: Point, radii: Point, tilt: float = 0.0) -> torch.Tensor:
    """Return an ellipsoid that is turned by ``tilt`` radians about the front-to-back axis."""
    dx, dy, dz = (c - p for c, p in zip(at, centre))
    if tilt:
        c, s = float(np.cos(tilt)), float(np.sin(tilt))
        dx, dz = c * dx + s * dz, c * dz - s * dx
    q = torch.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 + (dz / radii[2]) ** 2)
    return (q - 1) * float(min(radii)) * 1.0


def capsule(at: Coordinates, a: Point, b: Point, radius_a: float, radius_b: float) -> torch.Tensor:
    """Return a round tube from ``a`` to ``b`` whose radius changes linearly."""
    d = [q - p for p, q in zip(a, b)]
    length = max(sum(v * v for v in d), 1e-6)
    px, py, pz = (c - p for c, p in zip(at, a))
    t = ((px * d[0] + py * d[1] + pz * d[2]) / length).clamp(0, 1)
    distance = torch.sqrt((px - t * d[0]) ** 2 + (py - t * d[1]) ** 2 + (pz - t * d[2]) ** 2)
    return distance - (radius_a + t * (radius_b - radius_a))


def chain(at: Coordinates, points: Sequence[Point], radii: Sequence[float]) -> torch.Tensor:
    """Return the union of tubes through ``points``."""
    field = capsule(at, points[0], points[1], radii[0], radii[1])
    for n in range(1, len(points) - 1):
        field = torch.minimum(field, capsule(at, points[n], points[n + 1], radii[n], radii[n + 1]))
    return field


def superellipse(
    x: torch.Tensor, y: torch.Tensor, a: torch.Tensor | float, b: torch.Tensor | float, p: float
) -> torch.Tensor:
    """Return the in-plane distance along the ray from the centre to a superellipse of half axes ``a`` and ``b``."""
    q = ((x / a).abs() ** p + (y / b).abs() ** p + 1e-9) ** (1 / p)
    return torch.sqrt(x * x + y * y) * (1 - 1 / q)


def smooth_union(a: torch.Tensor, b: torch.Tensor, width: float) -> torch.Tensor:
    """Return the union of two shapes with a fillet of ``width`` mm."""
    h = (width - (a - b).abs()).clamp(min=0) / width
    return torch.minimum(a, b) - h * h * width / 4
