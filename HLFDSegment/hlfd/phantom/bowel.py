"""Colon and small bowel: random loops with gas, fluid, contrast, faeces, or collapsed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.phantom.canvas import FAR, Canvas
from hlfd.phantom.fields import capsule
from hlfd.phantom.frame import Frame
from hlfd.phantom.tissues import T

ROOM = (T.FAT_VISCERAL, T.MESENTERIC_VESSEL, T.FAT_PERIRENAL)
Kind = int
FLUID, COLLAPSED, GAS, CONTRAST, FAECES = range(5)


@dataclass(frozen=True)
class Loop:
    """One stretch of bowel: points (n, 3) in mm, radii (n) in mm and the content of each piece (n - 1)."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    content: NDArray[np.int64]


def paint_bowel(canvas: Canvas, frame: Frame, poles: list[NDArray[np.float64]]) -> None:
    """Paint colon, duodenum and small bowel; ``poles`` are points (mm) that some loops must touch."""
    rng = canvas.rng
    contrast = 1.0 if rng.random() < 0.22 else 0.0  # whether the patient drank contrast
    loops = [
        *_colon(frame, rng, contrast),
        _duodenum(frame, rng, contrast),
        *_small(frame, rng, contrast),
        *_at_poles(poles, rng),
    ]
    field = torch.full(canvas.nodes.shape, FAR, device=canvas.device)
    content = torch.zeros(canvas.nodes.shape, device=canvas.device)
    for loop in loops:
        _draw(canvas, loop, field, content)
    field = torch.maximum(field + 1.2 * canvas.noise(13.0), frame.fields["abdomen"] - 1)
    _fill(canvas, field, content)


def _draw(canvas: Canvas, loop: Loop, field: torch.Tensor, content: torch.Tensor) -> None:
    for a, b, ra, rb, kind in zip(loop.points, loop.points[1:], loop.radii, loop.radii[1:], loop.content):
        reach = max(ra, rb) + 4
        box = canvas.box(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
        if box is None:
            continue
        piece = capsule(canvas.coordinates(box), a.tolist(), b.tolist(), float(ra), float(rb))
        nearer = piece < field[box]
        field[box] = torch.where(nearer, piece, field[box])
        content[box] = torch.where(nearer, torch.full_like(piece, float(kind)), content[box])


def _fill(canvas: Canvas, field: torch.Tensor, content: torch.Tensor) -> None:
    rng = canvas.rng
    layer = canvas.paint(field, T.BOWEL_WALL, over=ROOM)
    values, box = layer.values, layer.box
    kinds = _nearest(canvas, content)[canvas.voxels(box)]
    lumen = values < -rng.uniform(1.6, 3.2)
    wall = (T.BOWEL_WALL,)
    folds = canvas.sample(canvas.noise(4.5, box), box)
    thick = rng.uniform(0.3, 1.3)  # collapsed loops keep some fluid and gas between their folds
    canvas.fill((values < -3.0) & (kinds == COLLAPSED) & (folds > thick), T.BOWEL_FLUID, box, over=wall)
    canvas.fill((values < -6.0) & (kinds == COLLAPSED) & (folds < -1.9), T.BOWEL_GAS, box, over=wall)
    canvas.fill(lumen & (kinds == FLUID), T.BOWEL_FLUID, box, over=wall)
    canvas.fill(lumen & (kinds == CONTRAST), T.BOWEL_CONTRAST, box, over=wall)
    canvas.fill(lumen & (kinds == FAECES), T.BOWEL_FAECES, box, over=wall)
    bubbles = canvas.sample(canvas.noise(5.0, box) + 0.7 * canvas.noise(7.7, box) + 0.4 * canvas.noise(20.0, box), box)
    canvas.fill((values < -3.5) & (bubbles > rng.uniform(1.0, 2.1)), T.BOWEL_GAS, box, over=(T.BOWEL_FAECES,))
    _, y, _ = canvas.coordinates(box)
    level = canvas.sample(canvas.noise(50.0, box) + (y - y.mean()) / 45.0, box)  # gas rises to the front
    gas = (kinds == GAS) & lumen
    canvas.fill(gas & (level > -1.1), T.BOWEL_GAS, box, over=wall)
    rest = T.BOWEL_CONTRAST if bool((kinds == CONTRAST).any()) else T.BOWEL_FLUID
    canvas.fill(gas, rest, box, over=wall)


def _nearest(canvas: Canvas, content: torch.Tensor) -> torch.Tensor:
    index = []
    for axis in (2, 1, 0):
        position = (canvas.grid.axis(axis) - canvas.nodes.origin[axis]) / canvas.nodes.spacing[axis]
        index.append(torch.from_numpy(np.rint(position).astype(np.int64)).to(canvas.device))
    small = content.to(torch.uint8)
    return small.index_select(0, index[0]).index_select(1, index[1]).index_select(2, index[2])


def _smooth(points: list[tuple[float, float, float]], step: float) -> NDArray[np.float64]:
    """Return points every ``step`` mm along a Catmull-Rom curve through ``points``."""
    p = np.asarray(points, dtype=float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    out = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:]):
        for t in np.arange(0, 1, step / max(float(np.linalg.norm(c - b)), step)):
            out.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    return np.asarray([*out, p[-2]])


def _contents(n: int, weights: list[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the content per piece; neighbours share it in runs."""
    out: list[int] = []
    while len(out) < n:
        out += [int(rng.choice(5, p=np.array(weights) / sum(weights)))] * int(rng.integers(3, 11))
    return np.array(out[:n])


def _colon(frame: Frame, rng: np.random.Generator, contrast: float) -> list[Loop]:
    s, w = frame.scale, frame.half_width - frame.muscle
    sag, top = rng.uniform(-80, 10), frame.front - frame.muscle
    j = lambda a=10.0: rng.uniform(-a, a)  # noqa: E731
    right = [
        (0.66 * w + j(), 28 + j(), -125 * s),
        (0.76 * w + j(), 18 + j(), -75 * s),
        (0.78 * w, 12 + j(), -25 * s + j()),
        (0.70 * w, 26 + j(), 12 * s + j(20)),
    ]
    cross = [
        (0.45 * w, top - 32 + j(), sag * 0.4),
        (0, top - 25, sag + j()),
        (-0.4 * w, top - 30, sag * 0.3 + j()),
        (-0.72 * w, 18 + j(15), 55 * s + j(20)),
    ]
    left = [(-0.80 * w, -4 + j(), 5 * s), (-0.80 * w, 6 + j(), -50 * s), (-0.74 * w, 22 + j(), -105 * s)]
    sigmoid = [
        (-0.45 * w, 40 + j(), -140 * s),
        (j(40), 32 + j(), -150 * s + j(30)),
        (j(20), -22, -170 * s),
        (0, -32 * s, -205 * s),
        (0, -30 * s, -280 * s),
    ]
    points = _smooth([*right, *cross, *left, *sigmoid], 11.0)
    n = len(points)
    size = np.interp(np.linspace(0, 1, n), [0, 0.3, 0.6, 0.8, 1], [27, 24, 19, 15, 15]) * rng.uniform(0.7, 1.2) * s
    wave = 1 + 0.18 * np.sign(np.sin(np.arange(n) * rng.uniform(1.6, 2.6))) + rng.normal(0, 0.07, n)
    return [Loop(points, size * wave, _contents(n, [0.12, 0.16, 0.3, 0.15 * contrast, 0.4], rng))]


def _duodenum(frame: Frame, rng: np.random.Generator, contrast: float) -> Loop:
    s = frame.scale
    path = [(28, 54, 8), (46, 34, 0), (46, 22, -30), (30, 26, -52), (0, 42, -50), (-28, 34, -34), (-40, 44, -26)]
    points = _smooth([tuple((np.array(p) + rng.uniform(-5, 5, 3)) * s) for p in path], 10.0)
    radii = rng.uniform(9, 14) * s * rng.uniform(0.85, 1.15, len(points))
    return Loop(points, radii, _contents(len(points), [0.45, 0.35, 0.08, 0.3 * contrast, 0], rng))


def _small(frame: Frame, rng: np.random.Generator, contrast: float) -> list[Loop]:
    s, w, top = frame.scale, frame.half_width - frame.muscle, frame.front - frame.muscle
    low = np.array([-0.66 * w, 5.0, -190 * s])
    high = np.array([0.64 * w, top - 18, 10 * s])
    roof = high + np.array([0, 0, 15])
    weights = [0.45, 0.35, 0.08, 0.6 * contrast, 0.03]
    loops = []
    for _ in range(int(rng.integers(14, 42) * (1 - 0.4 * min(frame.fat_front / 45, 1)))):
        start = rng.uniform(low, high)
        if rng.random() < 0.4:  # jejunum lies upper left
            start = rng.uniform([-0.68 * w, 0, -70 * s], [-0.1 * w, top - 20, 25 * s])
        n = int(rng.integers(8, 24))
        direction = rng.normal(size=3)
        points = [start]
        for _ in range(n):
            direction = 0.62 * direction + 0.75 * rng.normal(size=3)
            step = points[-1] + 11 * direction / max(float(np.linalg.norm(direction)), 1e-6)
            bounced = np.clip(step, low, roof)
            direction = np.where(bounced != step, -direction, direction)
            points.append(bounced)
        radius = rng.uniform(7.5, 16) * s * (1.25 if rng.random() < 0.2 else 1)
        radii = radius * np.clip(rng.normal(1, 0.1, n + 1), 0.7, 1.4)
        loops.append(Loop(np.array(points), radii, _contents(n + 1, weights, rng)))
    return loops


def _at_poles(poles: list[NDArray[np.float64]], rng: np.random.Generator) -> list[Loop]:
    loops = []
    for pole in poles:
        radius = rng.uniform(11, 20)
        offset = rng.normal(size=3) * [0.8, 0.8, 0.5] + [0, 0.5, -0.6]
        centre = pole + offset / np.linalg.norm(offset) * (radius + rng.uniform(0, 5))
        points = [centre + rng.uniform(-1, 1, 3) * 28, centre, centre + rng.uniform(-1, 1, 3) * 28]
        loops.append(
            Loop(np.array(points), np.array([radius * 0.9, radius, radius]), _contents(3, [0.6, 0.4, 0, 0, 0], rng))
        )
    return loops
