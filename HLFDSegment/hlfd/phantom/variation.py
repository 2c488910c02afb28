"""Rare anatomy made out of an ordinary one: the rest of the patient stays as it was, so that both can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.phantom.canvas import Box, Canvas, smooth_noise
from hlfd.phantom.fields import Point, chain, ellipsoid
from hlfd.phantom.frame import Frame
from hlfd.phantom.kidneys import RENAL, YIELDING, Kidney
from hlfd.phantom.shapes import SHAPE_MM
from hlfd.phantom.tissues import T

REMOVED = ("left", "right", "healthier")
_LARGEST_MASS_MM = 110.0
_CLEARANCE_MM = 12.0
_METAL_LEVELS_MM = (-72.0, -36.0, 0.0, 36.0)


@dataclass(frozen=True)
class Variation:
    """What is changed in a patient; none of it draws from the stream that the rest of the patient is drawn from."""

    removed: str | None = None
    """``left``, ``right`` or ``healthier`` (with less tumor): this kidney is missing, fat and bowel fill its place."""
    fused: bool = False
    """The lower poles are joined by parenchyma in front of the great vessels, as in a horseshoe kidney."""
    mass_ml: float | None = None
    """Volume in ml of one further tumor in front of a kidney."""
    small_ml: tuple[float, float] | None = None
    """Range in ml of one further small tumor at the surface of each kidney."""
    metal: bool = False
    """Screws and rods of steel lie in the lumbar spine, at the height of the kidneys."""

    def __post_init__(self) -> None:
        if self.removed is not None:
            look_up(self.removed, REMOVED, "removed kidney")
        volumes = [*(self.small_ml or ()), *(() if self.mass_ml is None else (self.mass_ml,))]
        if any(not 0 < ml <= 2000 for ml in volumes):
            raise ConfigError(f"The volumes of tumors are {volumes} ml; more than 0 and at most 2000 were expected.")


def removed_side(kidneys: list[Kidney], removed: str | None) -> str | None:
    """Return the side whose kidney is ``removed``, None for none of them."""
    if removed != "healthier" or not kidneys:
        return removed
    return min(kidneys, key=lambda kidney: np.count_nonzero(kidney.fields["tumor"] < 0)).shape.side


def vary(canvas: Canvas, frame: Frame, kidneys: list[Kidney], variation: Variation, seed: int) -> None:
    """Paint the changes into a canvas whose organs and ``kidneys`` are painted already."""
    rng = np.random.default_rng([seed, 5])
    if variation.fused and len(kidneys) == 2:
        _fuse(canvas, frame, kidneys)
    if variation.mass_ml is not None and kidneys:
        _add_mass(canvas, kidneys[rng.integers(len(kidneys))], variation.mass_ml, rng)
    for kidney in kidneys if variation.small_ml else ():
        _add_small(canvas, kidney, rng.uniform(*variation.small_ml), rng)  # type: ignore[misc]
    if variation.metal:
        _add_metal(canvas, frame)


def _fuse(canvas: Canvas, frame: Frame, kidneys: list[Kidney]) -> None:
    """Join the lower poles in front of aorta and vena cava, and cut the bridge at the midline into its two sides."""
    s = frame.scale
    start, end = sorted(
        (kidney.pole + np.array([0.0, 0.0, 10.0]) for kidney in kidneys), key=lambda point: float(point[0])
    )
    low = min(float(start[2]), float(end[2])) - 6
    path: list[Point] = [start, (-26 * s, 27 * s + 28, low), (26 * s, 27 * s + 28, low), end]
    bridge = chain(canvas.coordinates(), path, [17, 15, 15, 17])
    yielding = (*YIELDING, *RENAL, T.LYMPH_NODE)
    canvas.paint(bridge - 4.0, T.FAT_PERIRENAL, over=YIELDING)
    x = canvas.coordinates()[0]
    canvas.paint(torch.maximum(bridge, x), T.KIDNEY_LEFT_CORTEX, over=yielding)
    canvas.paint(torch.maximum(bridge, -x), T.KIDNEY_RIGHT_CORTEX, over=yielding)


def _add_mass(canvas: Canvas, kidney: Kidney, volume_ml: float, rng: np.random.Generator) -> None:
    """Grow a bumpy tumor in front of a kidney until it has its volume, whatever wall and spine leave of it."""
    inside = np.argwhere(kidney.fields["hull"] < 0)
    middle, front = kidney.to_world(inside.mean(0)), kidney.to_world(inside.max(0))[1]
    outwards = -1.0 if kidney.shape.side == "left" else 1.0
    radius = 10 * (3 * volume_ml / (4 * np.pi)) ** (1 / 3)
    centre = np.array([middle[0] + outwards * 8, front + 0.35 * radius, middle[2] + rng.uniform(-30, 10)])
    radii = radius * rng.uniform(0.9, 1.1, 3)
    box = canvas.box((centre - _LARGEST_MASS_MM).tolist(), (centre + _LARGEST_MASS_MM).tolist())
    if box is None:
        return
    bumps = [_noise(canvas, box, wavelength, rng) for wavelength in (40.0, 18.0)]
    field = ellipsoid(canvas.coordinates(box), centre.tolist(), radii) + 4 * bumps[0]
    room = canvas.allowed((*YIELDING, *RENAL))[canvas.tissue[canvas.voxels(box)].int()]
    values = canvas.sample(field, box)
    free = values[room]
    wanted = min(round(volume_ml * 1000 / float(np.prod(canvas.grid.spacing))), len(free))
    if wanted < 1:
        return
    level = float(free.kthvalue(wanted)[0])
    mass = room & (values <= level)
    canvas.fill(mass, T.TUMOR_CLEAR_CELL, box)
    dead = canvas.sample(torch.maximum(field + 12 - level, 0.4 - bumps[1]), box) < 0
    canvas.fill(mass & dead, T.TUMOR_NECROSIS, box)


def _noise(canvas: Canvas, box: Box, wavelength: float, rng: np.random.Generator) -> torch.Tensor:
    """Return unit noise on the nodes of ``box`` that is drawn from ``rng`` instead of the canvas's own stream."""
    shape = [part.stop - part.start for part in box]
    return smooth_noise(shape, canvas.node_mm, wavelength, rng, canvas.device)


def _add_small(canvas: Canvas, kidney: Kidney, volume_ml: float, rng: np.random.Generator) -> None:
    """Paint a round tumor that stands half out of the kidney, away from its other lesions."""
    radius = 10 * (3 * volume_ml / (4 * np.pi)) ** (1 / 3)
    centre = kidney.to_world(_free_surface_point(kidney, radius, rng))
    box = canvas.box((centre - radius).tolist(), (centre + radius).tolist())
    if box is not None:
        kind = T.TUMOR_CLEAR_CELL if rng.random() < 0.7 else T.TUMOR_PAPILLARY
        ball = ellipsoid(canvas.coordinates(box), centre.tolist(), (radius,) * 3)
        kidney_tissue = (T.KIDNEY_LEFT_CORTEX, T.KIDNEY_LEFT_MEDULLA, T.KIDNEY_RIGHT_CORTEX, T.KIDNEY_RIGHT_MEDULLA)
        canvas.paint(ball, kind, box, over=(*YIELDING, *RENAL, *kidney_tissue))


def _free_surface_point(kidney: Kidney, radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a voxel position just below the kidney's surface, as far as can be from its other lesions."""
    f = kidney.fields
    lesions = np.minimum(f["tumor"], np.minimum(f["cyst"], f["complex"])) < 0
    band = np.abs(f["hull"] + 0.2 * radius) < 1.5
    apart = ndimage.distance_transform_edt(~lesions) * SHAPE_MM if lesions.any() else np.full(band.shape, np.inf)
    for clearance in (radius + _CLEARANCE_MM, radius + 3.0, 0.0):
        places = np.argwhere(band & (apart >= clearance))
        if len(places):
            return places[rng.integers(len(places))].astype(float)
    return np.argwhere(f["hull"] < 0).mean(0)


def _add_metal(canvas: Canvas, frame: Frame) -> None:
    """Paint two rods beside the spinous processes and a pair of pedicle screws in each of four vertebrae."""
    s, at = frame.scale, canvas.coordinates()
    over = tuple(tissue for tissue in T if tissue != T.AIR)
    low, high = _METAL_LEVELS_MM[0] * s, _METAL_LEVELS_MM[-1] * s
    for side in (-1, 1):
        x = side * 25 * s
        parts = [chain(at, [(x, -46 * s, low - 8), (x, -46 * s, high + 8)], [2.8, 2.8])]
        for level in _METAL_LEVELS_MM:
            z = level * s
            parts.append(chain(at, [(x, -48 * s, z), (side * 10 * s, 8 * s, z)], [4.5, 2.8]))
        for part in parts:
            canvas.paint(part, T.METAL, over=over)
