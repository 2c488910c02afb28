"""Kidney, tumour and cyst shapes: real ones from the label maps of KiTS19 or KiTS23, or procedural ones.

KiTS19 (Heller et al., arXiv 1904.00445) label maps hold 1 for kidney and 2 for tumour; cysts are part of its kidneys,
which so have round bulges that no healthy kidney has. KiTS23 (kits-challenge.org/kits23) has the same patients and
more, with 3 for cyst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from hlfd.errors import InputError
from hlfd.labels import KIDNEY_CYST, KIDNEY_LEFT, KIDNEY_TUMOR
from hlfd.phantom.canvas import smooth_noise
from hlfd.volume import LabelMap

SHAPE_MM = 1.5
MARGIN_MM = 27.0
MIN_KIDNEY_ML = 12.0
_KIDNEY = KIDNEY_LEFT.__class__(1, "kidney", KIDNEY_LEFT.color)


@dataclass(frozen=True)
class KidneyShape:
    """One kidney: fractions 0..1 of it with its masses, of tumour and of cyst, (k, j, i) in RAS order, 1.5 mm voxels.

    ``origin`` is the position (x, y, z) in mm of the first voxel; ``side`` is "left" or "right".
    """

    side: str
    origin: NDArray[np.float64]
    hull: NDArray[np.float32]
    tumor: NDArray[np.float32]
    cyst: NDArray[np.float32]

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre of mass (x, y, z) in mm."""
        return self.origin + SHAPE_MM * np.array(ndimage.center_of_mass(self.hull))[::-1]


def shared_data() -> Path:
    """Return the folder of development data: ``HLFD_SHARED_DATA``, else ``../shared/data`` beside the project."""
    named = os.environ.get("HLFD_SHARED_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "data"


def kits_cases() -> list[int]:
    """Return the numbers of the KiTS19 label maps at hand, empty when there are none."""
    return sorted(int(path.name[5:10]) for path in (shared_data() / "kits19").glob("case_?????.nii.gz"))


def kits_path(case: int, edition: str = "kits19") -> Path:
    """Return the file of a label map in ``kits19`` or ``kits23``; raise ``InputError`` where it is not at hand.

    KiTS23 lies in ``HLFD_KITS23``, else in ``kits23`` of the shared data.
    """
    if edition == "kits19":
        path = shared_data() / "kits19" / f"case_{case:05d}.nii.gz"
        remedy = "Set HLFD_SHARED_DATA, or simulate without KiTS."
    else:
        folder = Path(os.environ.get("HLFD_KITS23") or shared_data() / "kits23")
        path = folder / f"case_{case:05d}" / "segmentation.nii.gz"
        remedy = "Set HLFD_KITS23 to the folder dataset of https://github.com/neheller/kits23, or use shapes: kits19."
    if not path.is_file():
        raise InputError(f'There is no label map "{path}".', remedy)
    return path


def load_kits(case: int | None, edition: str = "kits19") -> LabelMap | None:
    """Read the label map of ``case`` (see ``kits_path``), cut to the kidneys, in RAS order; None for None.

    The affine keeps its position relative to the centre of the image, which becomes x = 0.
    """
    if case is None:
        return None
    image = sitk.ReadImage(str(kits_path(case, edition)), sitk.sitkUInt8)
    return to_ras(sitk.GetArrayViewFromImage(image), np.array(image.GetDirection()).reshape(3, 3), image.GetSpacing())


def to_ras(array: NDArray, direction: NDArray, spacing: tuple[float, ...]) -> LabelMap:
    """Return an axis-aligned label map in RAS order, cut to its content, with the image centre at (0, 0, 0)."""
    axis_of = [int(np.argmax(np.abs(direction[world]))) for world in range(3)]  # image axis i, j, k of x, y, z
    sign = [np.sign(direction[world, axis_of[world]]) * (-1 if world < 2 else 1) for world in range(3)]
    turned = np.transpose(array, [2 - axis_of[world] for world in (2, 1, 0)])
    turned = turned[tuple(slice(None, None, int(sign[world])) for world in (2, 1, 0))]
    step = np.array([spacing[axis_of[world]] for world in range(3)])
    found = [np.flatnonzero(turned.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if len(found[0]) == 0:
        raise InputError("The label map is empty; a map with kidneys was expected.")
    box = tuple(slice(f[0], f[-1] + 1) for f in found)
    affine = np.diag([*step, 1.0])
    size = np.array(turned.shape[::-1])
    affine[:3, 3] = step * (np.array([b.start for b in box[::-1]]) - (size - 1) / 2)
    return LabelMap(np.ascontiguousarray(turned[box]), affine, (_KIDNEY, KIDNEY_TUMOR, KIDNEY_CYST))


def kits_kidneys(kits: LabelMap) -> list[KidneyShape]:
    """Return the kidneys of a label map in RAS order, resampled to 1.5 mm, with x = 0 on the midline between them."""
    spacing = np.array(kits.spacing)[::-1]
    hull = _resample(kits.array > 0, spacing)
    tumor = _resample(kits.array == KIDNEY_TUMOR.value, spacing)
    cysts = kits.array == KIDNEY_CYST.value
    cyst = _resample(cysts, spacing) if cysts.any() else np.zeros_like(hull)
    origin = kits.affine[:3, 3] - np.array(MARGIN_MM)
    parts, count = ndimage.label(hull[::2, ::2, ::2] > 0.5)
    sizes = ndimage.sum_labels(np.ones_like(parts), parts, range(1, count + 1)) * (2 * SHAPE_MM) ** 3 / 1000
    large = [n + 1 for n in np.argsort(-sizes)[:2] if sizes[n] > MIN_KIDNEY_ML]
    centres = [origin[0] + 2 * SHAPE_MM * ndimage.center_of_mass(parts == n)[2] for n in large]
    middle = float(np.mean(centres)) if len(centres) == 2 and abs(centres[0] - centres[1]) > 60 else 0.0
    wide = len(large) == 1 and np.ptp(np.flatnonzero((parts == large[0]).any((0, 1)))) * 2 * SHAPE_MM > 120
    if wide:  # a horseshoe kidney crosses the midline
        middle = centres[0]
    elif len(centres) == 1:  # a single kidney lies 45 to 75 mm beside the spine, whatever the centring of the scan
        middle = centres[0] - np.sign(centres[0] or 1) * float(np.clip(abs(centres[0]), 45, 75))
    column = round((middle - origin[0]) / SHAPE_MM)
    origin = origin - [middle, 0, 0]
    halves = (("left", slice(0, max(column, 0))), ("right", slice(max(column, 0), None)))
    kidneys = [_cut(side, (hull, tumor, cyst), part, origin) for side, part in halves]
    return [kidney for kidney in kidneys if kidney is not None]


def _resample(mask: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the fraction of a mask (k, j, i) on 1.5 mm voxels with a margin; thick slices are smoothed."""
    sigma = np.maximum(0.45 * spacing / spacing, 0.45 * SHAPE_MM / spacing)
    pad = np.ceil(MARGIN_MM / spacing).astype(int)
    values = ndimage.gaussian_filter(np.pad(mask, [(p, p) for p in pad]).astype(np.float32), sigma, truncate=2.5)
    for axis in range(3):
        length = (mask.shape[axis] - 1) * spacing[axis] + 2 * MARGIN_MM
        position = (np.arange(int(length / SHAPE_MM) + 1) * SHAPE_MM - MARGIN_MM) / spacing[axis] + pad[axis]
        low = np.clip(np.floor(position).astype(int), 0, values.shape[axis] - 2)
        part = np.expand_dims((position - low).astype(np.float32), tuple(a for a in range(3) if a != axis))
        values = values.take(low, axis) * (1 - part) + values.take(low + 1, axis) * part
    return values


def _cut(side: str, parts: tuple[NDArray, ...], columns: slice, origin: NDArray) -> KidneyShape | None:
    hull = parts[0]
    mine = np.zeros(hull.shape, bool)
    mine[:, :, columns] = hull[:, :, columns] > 0.02
    found = [np.flatnonzero(mine.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if mine.sum() * SHAPE_MM**3 / 1000 < MIN_KIDNEY_ML:
        return None
    pad = int(MARGIN_MM / SHAPE_MM) - 1
    low = [max(int(f[0]) - pad, 0) for f in found]
    box = tuple(slice(a, int(f[-1]) + 1 + pad) for a, f in zip(low, found))
    keep = mine[box]
    return KidneyShape(side, origin + SHAPE_MM * np.array(low[::-1]), *(part[box] * keep for part in parts))


def procedural_kidneys(rng: np.random.Generator) -> list[KidneyShape]:
    """Return two bean-shaped kidneys of random size (90-260 ml) about the origin, without tumours."""
    return [_bean(side, rng) for side in ("left", "right")]


def _bean(side: str, rng: np.random.Generator) -> KidneyShape:
    out = -1.0 if side == "left" else 1.0
    radii = np.array([27, 24, 54]) * rng.uniform(0.85, 1.15, 3)
    reach = radii.max() + MARGIN_MM
    line = np.arange(-reach, reach, SHAPE_MM, dtype=np.float32)
    z, y, x = line[:, None, None], line[None, :, None], line[None, None, :] * out
    lean, turn = rng.uniform(0.1, 0.35), rng.uniform(0.2, 0.9)
    u = x * np.cos(lean) + z * np.sin(lean)  # the upper poles lean towards the spine
    w = z * np.cos(lean) - x * np.sin(lean)
    m, v = u * np.cos(turn) - y * np.sin(turn), u * np.sin(turn) + y * np.cos(turn)
    bent = m + 9.0 * (w / radii[2]) ** 2 - 4
    field = np.sqrt((bent / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2) - 1
    notch = 1 - np.sqrt(((m + radii[0] * 1.05) / 17) ** 2 + (v / 9) ** 2 + (w / 21) ** 2)
    field = np.maximum(field, notch) + 0.05 * smooth_noise(field.shape, SHAPE_MM, 20.0, rng).numpy()
    hull = (0.5 - field * 22 / SHAPE_MM).clip(0, 1).astype(np.float32)
    centre = np.array([out * rng.uniform(52, 66), rng.uniform(-6, 6), rng.uniform(-8, 8) - 5 * out])
    return KidneyShape(side, centre + line[0], hull, np.zeros_like(hull), np.zeros_like(hull))
