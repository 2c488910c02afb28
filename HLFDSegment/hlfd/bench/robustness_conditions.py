"""The conditions of the robustness table, and the simulated scans of one patient under each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.config import look_up
from hlfd.data.pool import SHAPES, shape_of
from hlfd.labels import KIDNEY_LEFT, KIDNEY_RIGHT, PHANTOM_LABELS
from hlfd.phantom import AcquisitionSettings, Anatomy, AnatomySettings, render, to_labels
from hlfd.phantom.anatomy import build_variations
from hlfd.phantom.variation import Variation
from hlfd.volume import LabelMap, Volume

BASE = "base"
CROPS = ("", "upper half", "narrow")
NARROW_MM = 250.0
_SEED = 2026


@dataclass(frozen=True)
class Condition:
    """How a patient and the scan of it differ from the base: nephrographic phase, 10 HU of noise, slices of 2.5 mm."""

    name: str
    title: str
    """What the table calls it."""
    phase: str = "nephrographic"
    noise: float = 10.0
    """Standard deviation in HU."""
    slice_mm: float = 2.5
    """Thickness of the slices, which lie side by side."""
    variation: Variation = field(default_factory=Variation)
    """What is rare about the anatomy."""
    crop: str = ""
    """Which part of the field of view is missing: nothing, ``upper half`` of the kidneys, or all but 250 mm."""

    def __post_init__(self) -> None:
        look_up(self.crop, CROPS, "crop")


CONDITIONS = (
    Condition(BASE, "base: nephrographic phase, noise 10 HU, slices 2.5 mm"),
    Condition("native", "native phase", phase="native"),
    Condition("corticomedullary", "corticomedullary phase", phase="corticomedullary"),
    Condition("excretory", "excretory phase", phase="excretory"),
    Condition("noise 25", "noise 25 HU", noise=25.0),
    Condition("noise 45", "noise 45 HU", noise=45.0),
    Condition("slices 1", "slices 1 mm", slice_mm=1.0),
    Condition("slices 5", "slices 5 mm", slice_mm=5.0),
    Condition("missing kidney", "the healthier kidney missing", variation=Variation(removed="healthier")),
    Condition("fused kidneys", "lower poles fused, like a horseshoe", variation=Variation(fused=True)),
    Condition("huge tumor", "a further tumor of 600 ml", variation=Variation(mass_ml=600.0)),
    Condition("small tumors", "two further tumors of 0.5 to 0.9 ml", variation=Variation(small_ml=(0.5, 0.9))),
    Condition("upper half missing", "upper half of the kidneys not in the scan", crop="upper half"),
    Condition("narrow", "field of view of 250 mm", crop="narrow"),
    Condition("metal", "streaks of metal in the spine", variation=Variation(metal=True)),
)


def conditions_named(names: list[str] | None) -> tuple[Condition, ...]:
    """Return the conditions of these names, in the order of the table; all of them for None."""
    known = [condition.name for condition in CONDITIONS]
    for name in names or ():
        look_up(name, known, "condition")
    return tuple(condition for condition in CONDITIONS if names is None or condition.name in names)


@dataclass(frozen=True)
class Patients:
    """Which patients are scanned."""

    shapes: str = "kits19"
    """Kidneys of these label maps (``hlfd.data.pool.SHAPES``); procedural ones have one tumor."""
    spacing_mm: float = 1.25
    """Spacing of the anatomy, and of the images in plane."""
    shape: tuple[int, int, int] = (208, 240, 320)
    """Voxels of the anatomy along (k, j, i): 260 mm of the body, 300 x 400 mm in plane."""

    def __post_init__(self) -> None:
        look_up(self.shapes, SHAPES, "shapes")

    def build(self, case: int, variations: Sequence[Variation]) -> dict[Variation, Anatomy]:
        """Return the anatomies of a case; all variations of it are drawn from one seed."""
        seed = int(np.random.default_rng([_SEED, case]).integers(2**31))
        rng = np.random.default_rng([_SEED, case, 1])
        settings = AnatomySettings(
            spacing_mm=self.spacing_mm,
            shape=self.shape,
            size=float(rng.uniform(0.92, 1.08)),
            fatness=float(rng.uniform(0.1, 0.6)),
            tumors=1 if self.shapes == "procedural" else 0,
            tumor_mm=(15.0, 60.0),
            cysts=1,
            missing_kidney="none",
            shift_mm=float(rng.uniform(-20, 10)),
            arms=False,
            centre_z=-5.0,
        )
        return build_variations(settings, seed, variations, shape_of(case, self.shapes))


def scan(anatomy: Anatomy, condition: Condition) -> tuple[Volume, LabelMap]:
    """Return the CT of a patient under a condition in int16 HU, and its exact labels with ``PHANTOM_LABELS``."""
    tissue, averaged = _stack(anatomy, condition.slice_mm)
    x, y, _ = anatomy.spacing_mm
    settings = AcquisitionSettings(phase=condition.phase, noise=condition.noise, slice_mm=condition.slice_mm)
    spacing = (x, y, condition.slice_mm / averaged)
    image = render(torch.from_numpy(tissue), spacing, anatomy.seed, settings, averaged=averaged)
    affine = anatomy.affine.copy()
    affine[2, 3] += (condition.slice_mm - anatomy.spacing_mm[2]) / 2
    affine[:3, 2] *= condition.slice_mm / anatomy.spacing_mm[2]
    array, labels = image.round().numpy().astype(np.int16), to_labels(tissue[averaged // 2 :: averaged])
    box = _box(labels, affine, condition.crop)
    affine[:3, 3] = (affine @ [*(part.start for part in box[::-1]), 1.0])[:3]
    array, labels = np.ascontiguousarray(array[box]), np.ascontiguousarray(labels[box])
    return Volume(array, affine, condition.name), LabelMap(labels, affine, PHANTOM_LABELS)


def _stack(anatomy: Anatomy, slice_mm: float) -> tuple[NDArray[np.uint8], int]:
    """Return the tissue slices (nearest ones) that the image's slices average, and how many each of them does."""
    tissue, fine = anatomy.tissue.numpy(), anatomy.spacing_mm[2]
    averaged = max(1, round(slice_mm / fine))
    count = math.floor(len(tissue) * fine / slice_mm + 1e-6) * averaged
    places = (np.arange(count) + 0.5) * slice_mm / averaged / fine
    return tissue[np.minimum(places.astype(int), len(tissue) - 1)], averaged


def _box(labels: NDArray[np.uint8], affine: NDArray[np.float64], crop: str) -> tuple[slice, slice, slice]:
    """Return the voxels (k, j, i) that are in the field of view."""
    z, y, x = labels.shape
    whole = slice(0, z), slice(0, y), slice(0, x)
    kidney = np.isin(labels, (KIDNEY_LEFT.value, KIDNEY_RIGHT.value))
    if crop == "upper half" and kidney.any():
        return slice(0, max(1, int(np.median(np.nonzero(kidney)[0])))), whole[1], whole[2]
    if crop == "narrow":
        width, depth = round(NARROW_MM / affine[0, 0]), round(NARROW_MM / affine[1, 1])
        left = max(0, round(-affine[0, 3] / affine[0, 0] - width / 2))  # about x = 0, the spine
        back = max(0, (y - depth) // 2)
        return whole[0], slice(back, min(y, back + depth)), slice(left, min(x, left + width))
    return whole
