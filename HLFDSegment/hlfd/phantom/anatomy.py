"""Build the tissue map of one simulated patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.errors import ConfigError
from hlfd.phantom.body import paint_body
from hlfd.phantom.bowel import paint_bowel
from hlfd.phantom.canvas import Canvas, Grid
from hlfd.phantom.extras import paint_extras
from hlfd.phantom.frame import Frame, draw_frame
from hlfd.phantom.kidneys import (
    SUBTYPES,
    Kidney,
    LesionPlan,
    add_lesions,
    draw_pelvis,
    fat_field,
    inner_fields,
    paint_kidney,
    paint_surroundings,
    prepare_kidney,
)
from hlfd.phantom.liver import LiverPlan, paint_liver_lesions
from hlfd.phantom.organs import paint_organs
from hlfd.phantom.shapes import KidneyShape, kits_kidneys, procedural_kidneys
from hlfd.phantom.variation import Variation, removed_side, vary
from hlfd.volume import LabelMap


@dataclass(frozen=True)
class AnatomySettings:
    """What a simulated patient looks like; every value that is None is drawn at random."""

    spacing_mm: float | tuple[float, float, float] = 1.5
    """Voxel spacing in mm, one value or (x, y, z)."""
    shape: tuple[int, int, int] | None = None
    """Number of voxels along (k, j, i); None takes the body and a random extent along it."""
    size: float | None = None
    """Scale of the body; 1 is average, 0.84 to 1.18 is usual."""
    fatness: float | None = None
    """0 is lean, 1 obese."""
    tumors: int | None = None
    """Procedural tumours in addition to those of the label map."""
    tumor_mm: tuple[float, float] = (5.0, 70.0)
    """Range of their diameters."""
    subtype: str | None = None
    """``clear_cell``, ``papillary`` or ``chromophobe``."""
    cysts: int | None = None
    """Number of renal cysts."""
    cyst_mm: tuple[float, float] = (3.0, 60.0)
    """Range of their diameters."""
    stones: int | None = None
    """Number of kidney stones."""
    liver_lesions: int | None = None
    """Number of metastases and hepatocellular carcinomas."""
    liver_study: bool = False
    """A scan made for the liver: most hold all of it, its size varies more, and it has tumors of every kind and size,
    cysts and haemangiomas as ``hlfd.phantom.liver`` draws them."""
    liver_tumor_mm: tuple[float, float] = (5.0, 80.0)
    """Range of the diameters of its tumors in such a scan."""
    liver_benign: int | None = None
    """Number of its cysts and haemangiomas in such a scan."""
    missing_kidney: str | None = None
    """``left``, ``right`` or ``none``."""
    shift_mm: float | None = None
    """Shift of the kidneys along the body relative to the other organs."""
    arms: bool | None = None
    """Whether the arms lie in the field of view."""
    table: bool | None = None
    """Whether the table is in the field of view."""
    mirror: bool | None = None
    """Whether left and right kidney change places."""
    centre_z: float | None = None
    """Position in mm along the body (0 is the second lumbar vertebra) of the centre of the scan."""

    def __post_init__(self) -> None:
        if min(np.atleast_1d(self.spacing_mm)) <= 0 or np.size(self.spacing_mm) not in (1, 3):
            raise ConfigError(f"spacing_mm is {self.spacing_mm}; one or three values above 0 were expected.")
        if self.shape is not None and (len(self.shape) != 3 or min(self.shape) < 4):
            raise ConfigError(f"shape is {self.shape}; three sizes of at least 4 voxels were expected.")
        if self.subtype not in (None, *SUBTYPES):
            raise ConfigError(f'Unknown subtype "{self.subtype}"; known are {", ".join(SUBTYPES)}.')
        if self.missing_kidney not in (None, "none", "left", "right"):
            raise ConfigError(f'missing_kidney is "{self.missing_kidney}"; left, right or none was expected.')


@dataclass(frozen=True)
class Anatomy:
    """A simulated patient: ``tissue`` uint8 (k, j, i) values of ``Tissue`` and the 4x4 IJK->RAS affine in mm."""

    tissue: torch.Tensor
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    seed: int


def build_anatomy(settings: AnatomySettings, seed: int, kits: LabelMap | None = None, device: str = "cpu") -> Anatomy:
    """Return the anatomy of ``seed``: real kidneys of ``kits`` (see ``load_kits``), else procedural ones.

    The same settings, seed, label map and device type give the same voxels.
    """
    return build_variations(settings, seed, (Variation(),), kits, device)[Variation()]


def build_variations(
    settings: AnatomySettings,
    seed: int,
    variations: Sequence[Variation],
    kits: LabelMap | None = None,
    device: str = "cpu",
) -> dict[Variation, Anatomy]:
    """Return the anatomy of ``seed`` with each of ``variations``; all else is as ``build_anatomy`` has it."""
    anatomies = {}
    for removed in dict.fromkeys(variation.removed for variation in variations):
        canvas, frame, kidneys = _paint(settings, seed, removed, kits, device)
        ordinary = canvas.tissue
        for variation in variations:
            if variation.removed == removed:
                canvas.tissue = ordinary.clone()
                vary(canvas, frame, kidneys, variation, seed)
                anatomies[variation] = Anatomy(canvas.tissue, canvas.grid.affine, canvas.grid.spacing, seed)
    return anatomies


def _paint(
    settings: AnatomySettings, seed: int, removed: str | None, kits: LabelMap | None, device: str
) -> tuple[Canvas, Frame, list[Kidney]]:
    """Paint the patient of ``seed`` without the kidney that is ``removed``."""
    rng = np.random.default_rng([seed, 1])
    frame = draw_frame(rng, settings.size, settings.fatness)
    kidneys = _place(settings, frame, kits, rng)
    draw_pelvis(kidneys, np.random.default_rng([seed, 3]))
    missing = removed_side(kidneys, removed)
    liver = np.random.default_rng([seed, 20])  # of its own, so that a study of the liver is the same patient
    top = frame.dome + liver.uniform(8, 40) if settings.liver_study and liver.random() < 0.8 else -np.inf
    growth = liver.uniform(-4, 18) if settings.liver_study else 0.0
    canvas = Canvas(_grid(settings, frame, rng, top), rng, rng.uniform(2.0, 5.0), device)
    paint_body(canvas, frame)
    paint_organs(canvas, frame, 0 if settings.liver_study else settings.liver_lesions, growth)
    touching = [rng.random() < 0.45 for _ in kidneys]
    poles = [kidney.pole for kidney, touch in zip(kidneys, touching) if touch]
    paint_bowel(canvas, frame, poles)
    amount = rng.uniform(0, 20) * rng.uniform(0.2, 1)
    for kidney, touch in zip(kidneys, touching):
        fat_field(kidney, amount, touch, rng)
        before = canvas.tissue.clone() if kidney.shape.side == missing else None
        paint_surroundings(canvas, frame, kidney)  # also of a kidney that is missing, for what it draws
        canvas.tissue = canvas.tissue if before is None else before
    kidneys = [kidney for kidney in kidneys if kidney.shape.side != missing]
    for kidney in kidneys:
        paint_kidney(canvas, kidney)
    if settings.liver_study:
        plan = LiverPlan(settings.liver_lesions, settings.liver_tumor_mm, settings.liver_benign)
        paint_liver_lesions(canvas, frame.fields["liver"], plan, liver)
    paint_extras(canvas, frame, settings.arms, settings.table)
    return canvas, frame, kidneys


def _grid(settings: AnatomySettings, frame: Frame, rng: np.random.Generator, least_top: float) -> Grid:
    spacing = np.broadcast_to(np.asarray(settings.spacing_mm, float), 3)
    width = 2 * (frame.half_width * 1.1 + frame.fat_side) + rng.uniform(-30, 60)
    depth = frame.front + frame.back + frame.fat_front + frame.fat_back + rng.uniform(0, 50)
    top, bottom = max(rng.uniform(50, 230) * frame.scale, least_top), -rng.uniform(65, 280) * frame.scale
    middle_z = (top + bottom) / 2 if settings.centre_z is None else settings.centre_z
    middle_y = (frame.front + frame.fat_front - frame.back - frame.fat_back) / 2 + rng.uniform(-14, 6)
    size = np.array([width, depth, top - bottom])
    if settings.shape is None:
        count = np.maximum(np.ceil(size / spacing), 8).astype(int)
    else:
        count = np.array(settings.shape[::-1])
    centre = np.array([rng.uniform(-12, 12), middle_y, middle_z])
    origin = centre - spacing * (count - 1) / 2
    x, y, z = (float(v) for v in origin)
    return Grid(
        (x, y, z),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        (int(count[2]), int(count[1]), int(count[0])),
    )


def _place(settings: AnatomySettings, frame: Frame, kits: LabelMap | None, rng: np.random.Generator) -> list[Kidney]:
    shapes = procedural_kidneys(rng) if kits is None else kits_kidneys(kits)
    mirror = rng.random() < 0.5 if settings.mirror is None else settings.mirror
    shapes = [_mirrored(shape) for shape in shapes] if mirror else shapes
    shapes = _remove(shapes, settings.missing_kidney, rng)
    stretch = frame.scale * rng.uniform(0.92, 1.08)
    far = rng.random() < 0.3
    shift = rng.normal(-6, 30 if far else 12) if settings.shift_mm is None else settings.shift_mm
    centres = np.array([shape.centre for shape in shapes]) if shapes else np.zeros((1, 3))
    middle = np.array([0.0, centres[:, 1].mean(), centres[:, 2].mean()]) * stretch
    target = np.array([rng.uniform(-4, 4), rng.uniform(-18, 4) * frame.scale, float(np.clip(shift, -70, 55))])
    kidneys: list[Kidney] = []
    for shape in shapes:
        own = np.array([0.0, 0.0, rng.normal(0, 4)])
        if settings.shift_mm is None and kits is not None and rng.random() < 0.03:
            own += [0, 25, -rng.uniform(70, 130)]  # a pelvic or low kidney
        kidneys.append(prepare_kidney(shape, target - middle + own, stretch, rng))
    _make_room(frame, kidneys, rng)
    add_lesions(kidneys, _plan(settings, kits is not None, rng), rng)
    for kidney in kidneys:
        inner_fields(kidney, rng)
    return kidneys


def _make_room(frame: Frame, kidneys: list[Kidney], rng: np.random.Generator) -> None:
    """Widen the body where the kidneys and their masses would stand out of it."""
    for kidney in kidneys:
        voxels = np.argwhere(kidney.fields["hull"][::2, ::2, ::2] < 0) * 2.0
        low, high = kidney.to_world(voxels.min(0)), kidney.to_world(voxels.max(0))
        lateral = float(max(-low[0], high[0]))
        frame.half_width = max(frame.half_width, min(lateral + frame.muscle + rng.uniform(2, 16), 185.0))
        frame.front = max(frame.front, min(float(high[1]) + frame.muscle + rng.uniform(0, 20), 170.0))
        frame.back = max(frame.back, min(-float(low[1]) + rng.uniform(6, 22), 105.0))
    frame.front = max(frame.front, rng.uniform(1.2, 1.6) * frame.half_width - frame.back)


def _plan(settings: AnatomySettings, real: bool, rng: np.random.Generator) -> LesionPlan:
    tumors = int(rng.choice(3, p=[0.6, 0.3, 0.1] if real else [0.3, 0.55, 0.15]))
    cysts = int(rng.choice(6, p=[0.35, 0.25, 0.17, 0.11, 0.07, 0.05]))
    stones = int(rng.integers(1, 4)) if rng.random() < 0.14 else 0
    return LesionPlan(
        tumors if settings.tumors is None else settings.tumors,
        settings.tumor_mm,
        settings.subtype,
        cysts if settings.cysts is None else settings.cysts,
        settings.cyst_mm,
        stones if settings.stones is None else settings.stones,
    )


def _mirrored(shape: KidneyShape) -> KidneyShape:
    from hlfd.phantom.shapes import SHAPE_MM

    origin = shape.origin.copy()
    origin[0] = -(origin[0] + SHAPE_MM * (shape.hull.shape[2] - 1))
    side = "right" if shape.side == "left" else "left"
    parts = (part[:, :, ::-1].copy() for part in (shape.hull, shape.tumor, shape.cyst))
    return KidneyShape(side, origin, *parts)


def _remove(shapes: list[KidneyShape], missing: str | None, rng: np.random.Generator) -> list[KidneyShape]:
    if missing is None:
        if len(shapes) == 2 and rng.random() < 0.05:
            return [shapes[rng.integers(2)]]
        return shapes
    return [shape for shape in shapes if shape.side != missing]
