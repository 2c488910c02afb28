"""Lesions of the liver: metastases, hepatocellular carcinomas, and the cysts and haemangiomas that are told from them.

Shapes are drawn on voxels, not on the canvas's nodes, so that a lesion of 5 mm keeps its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from hlfd.phantom.canvas import Box, Canvas, smooth_noise
from hlfd.phantom.tissues import LIVER_BENIGN_TISSUES, LIVER_TUMOR_TISSUES, T

_HEALTHY = (T.LIVER, T.LIVER_VESSEL)
_FOR_TUMORS = (*_HEALTHY, *LIVER_BENIGN_TISSUES)
_METASTASES = (
    (T.LIVER_METASTASIS, T.LIVER_TUMOR_RIM),
    (T.LIVER_METASTASIS_2, T.LIVER_TUMOR_RIM),
    (T.LIVER_METASTASIS_3, T.LIVER_TUMOR_RIM_2),
)
_NECROSIS = (T.LIVER_TUMOR_NECROSIS, T.LIVER_TUMOR_NECROSIS_2)
_MOST_TUMOR = 0.4  # of the liver; what lies beyond is not drawn


@dataclass(frozen=True)
class LiverPlan:
    """How many lesions a liver gets; None draws the number. Diameters in mm."""

    tumors: int | None = None
    tumor_mm: tuple[float, float] = (5.0, 80.0)
    benign: int | None = None
    benign_mm: tuple[float, float] = (4.0, 50.0)


@dataclass(frozen=True)
class _Lesion:
    """A lesion's place: ``depth`` (k, j, i) on the voxels of ``box``, 0 at its surface and about 1 in its middle."""

    depth: torch.Tensor
    box: Box
    radius: float


def paint_liver_lesions(canvas: Canvas, liver: torch.Tensor, plan: LiverPlan, rng: np.random.Generator) -> None:
    """Paint lesions into what is liver on ``canvas``; ``liver`` is its field in mm on the canvas's nodes.

    A patient has metastases (two of three who have tumors, often several of them) or hepatocellular carcinomas, up to a
    size of the patient's own; benign lesions come first, so that a tumor may grow into them.
    """
    size = _size(canvas, _HEALTHY)
    for _ in range(int(rng.poisson(1.2)) if plan.benign is None else plan.benign):
        lesion = _place(canvas, liver, plan.benign_mm, rng, 0.06, _HEALTHY)
        if lesion is not None:
            (_haemangioma if rng.random() < 0.4 else _cyst)(canvas, lesion, rng)
    metastatic = rng.random() < 0.65
    low, high = np.log(plan.tumor_mm)
    largest = float(np.exp(rng.uniform(low + 0.3 * (high - low), high)))
    for _ in range(_number(metastatic, rng) if plan.tumors is None else plan.tumors):
        if _size(canvas, LIVER_TUMOR_TISSUES) > _MOST_TUMOR * size:
            break
        lesion = _place(canvas, liver, (plan.tumor_mm[0], largest), rng, rng.uniform(0.05, 0.2), _FOR_TUMORS)
        if lesion is not None:
            (_metastasis if metastatic else _hepatocellular)(canvas, lesion, rng)


def _number(metastatic: bool, rng: np.random.Generator) -> int:
    if rng.random() < 0.12:
        return 0
    return 1 + (min(int(rng.exponential(5)), 20) if metastatic else int(rng.poisson(0.8)))


def _size(canvas: Canvas, tissues: Sequence[T]) -> int:
    return int(canvas.allowed(tissues)[canvas.tissue[::2, ::2, ::2].int()].sum())


def _place(
    canvas: Canvas,
    liver: torch.Tensor,
    diameter_mm: tuple[float, float],
    rng: np.random.Generator,
    bumps: float,
    room: Sequence[T],
) -> _Lesion | None:
    """Draw a place for a lesion within the tissues ``room``; None where the scan holds no liver deep enough for it.

    Small lesions are more frequent than large ones (equally many per octave), and large ones lie deeper.
    """
    radius = float(np.exp(rng.uniform(*np.log(diameter_mm)))) / 2
    inner = liver[1:-1, 1:-1, 1:-1]  # the outermost nodes lie beyond the scan
    found = torch.nonzero(inner < -(1.0 + 0.35 * radius)) + 1
    if len(found) == 0:
        return None
    node = found[int(rng.integers(len(found)))].tolist()
    centre = [float(canvas.nodes.axis(a)[node[2 - a]]) + rng.uniform(-0.5, 0.5) * canvas.node_mm for a in range(3)]
    radii = radius * rng.uniform(0.78, 1.22, 3)
    reach = 1.6 * float(radii.max())
    box = canvas.box([c - reach for c in centre], [c + reach for c in centre], canvas.node_mm)
    if box is None:
        return None
    k, j, i = canvas.voxels(box)
    x, y, z = (
        torch.tensor((canvas.grid.axis(a)[part] - c) / r, dtype=torch.float32, device=canvas.device)
        for a, part, c, r in zip(range(3), (i, j, k), centre, radii)
    )
    distance = torch.sqrt(x[None, None, :] ** 2 + y[None, :, None] ** 2 + z[:, None, None] ** 2)
    depth = 1 - distance + bumps * _noise(canvas, box, max(6.0, 1.2 * radius), rng)
    free = canvas.allowed(room)[canvas.tissue[k, j, i].int()]
    return _Lesion(torch.where(_largest_part((depth > 0) & free), depth, -1.0), box, radius)


def _largest_part(mask: torch.Tensor) -> torch.Tensor:
    """Return the largest 26-connected component: vessels and fissures cut crumbs off a lesion."""
    parts, count = ndimage.label(mask.cpu().numpy(), np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    return torch.from_numpy((parts == sizes.argmax()) & (sizes.max() > 0)).to(mask.device)


def _noise(canvas: Canvas, box: Box, wavelength: float, rng: np.random.Generator) -> torch.Tensor:
    nodes = [part.stop - part.start for part in box]
    return canvas.sample(smooth_noise(nodes, canvas.node_mm, wavelength, rng, canvas.device), box)


def _fill(canvas: Canvas, lesion: _Lesion, tissue: T, over: Sequence[T], where: torch.Tensor | None = None) -> None:
    inside = lesion.depth > 0
    canvas.fill(inside if where is None else inside & where, tissue, lesion.box, over)


def _metastasis(canvas: Canvas, lesion: _Lesion, rng: np.random.Generator) -> None:
    core, rim = _METASTASES[rng.integers(3)]
    _fill(canvas, lesion, core, _FOR_TUMORS)
    if rng.random() < 0.55:
        width = float(np.clip(rng.uniform(0.08, 0.2) * lesion.radius, 1.2, 3.0)) / lesion.radius
        _fill(canvas, lesion, rim, (core,), lesion.depth < width)
    if lesion.radius > 7 and rng.random() < 0.45:
        patchy = 0.15 * _noise(canvas, lesion.box, 12.0, rng)
        middle = lesion.depth + patchy > rng.uniform(0.3, 0.65)
        _fill(canvas, lesion, _NECROSIS[rng.integers(2)], (core,), middle)
    if rng.random() < 0.07:
        spots = _noise(canvas, lesion.box, 6.0, rng) > rng.uniform(1.2, 2.0)
        _fill(canvas, lesion, T.LIVER_TUMOR_CALCIFICATION, (core, *_NECROSIS), spots & (lesion.depth > 0.2))


def _hepatocellular(canvas: Canvas, lesion: _Lesion, rng: np.random.Generator) -> None:
    cores = (T.LIVER_HCC, T.LIVER_HCC_2)
    core, other = cores if rng.random() < 0.5 else cores[::-1]
    _fill(canvas, lesion, core, _FOR_TUMORS)
    if lesion.radius > 10 and rng.random() < 0.6:  # a mosaic of parts that differ
        part = _noise(canvas, lesion.box, 10.0, rng)
        _fill(canvas, lesion, other, (core,), part > rng.uniform(0.4, 1.2))
        _fill(canvas, lesion, _NECROSIS[0], (core,), (part < -rng.uniform(0.9, 1.8)) & (lesion.depth > 0.2))
    if rng.random() < 0.6:
        width = rng.uniform(1.2, 2.5) / lesion.radius
        _fill(canvas, lesion, T.LIVER_TUMOR_CAPSULE, cores, lesion.depth < width)


def _cyst(canvas: Canvas, lesion: _Lesion, rng: np.random.Generator) -> None:
    _fill(canvas, lesion, T.LIVER_CYST, _HEALTHY)


def _haemangioma(canvas: Canvas, lesion: _Lesion, rng: np.random.Generator) -> None:
    _fill(canvas, lesion, T.LIVER_HEMANGIOMA, _HEALTHY)
    nodules = _noise(canvas, lesion.box, max(5.0, 0.5 * lesion.radius), rng) > rng.uniform(-0.3, 0.6)
    _fill(canvas, lesion, T.LIVER_HEMANGIOMA_NODULE, (T.LIVER_HEMANGIOMA,), nodules & (lesion.depth < 0.45))
