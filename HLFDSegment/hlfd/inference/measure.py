"""Measurements on the final label map: volume, diameters, HU statistics, lesions with side and position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.diameters import axial_diameters, corners, diameter, to_ras
from hlfd.inference.quality_lesions import LesionEvidence
from hlfd.inference.result import Lesion, Structure
from hlfd.inference.roles import Roles
from hlfd.labels import Label
from hlfd.preprocess.components import components, index_box
from hlfd.preprocess.frame import box_slices
from hlfd.threads import run_threaded

SideOf = Callable[[tuple[float, float, float]], str]
EvidenceOf = Callable[[Label, NDArray[np.int64]], Optional[LesionEvidence]]
Doubtful = Callable[[Optional[LesionEvidence], float], bool]
_ASKED = 500  # voxels of a lesion that are enough to find its evidence


@dataclass(frozen=True)
class Image:
    """A canonical CT (z, y, x), its labels, and the 4x4 affine from (x, y, z) indices to RAS mm."""

    hu: NDArray
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def measure_structure(image: Image, label: Label, lesions: tuple[Lesion, ...]) -> Structure:
    """Measure all voxels of one label; the longest diameter of a lesion label is that of its longest lesion."""
    mask = image.labels == label.value
    low, high = index_box(mask)
    if low == high:
        return Structure(label.name, label.value, 0, 0.0, None, None, None)
    crop = box_slices(low, high)
    inside = mask[crop]
    values = image.hu[crop][inside].astype(np.float64)
    own = [lesion.longest_diameter_mm for lesion in lesions if lesion.value == label.value]
    longest = max(own) if own else diameter(to_ras(corners(inside) + np.array(low), image.affine), image.affine)
    voxels = len(values)
    return Structure(
        label.name, label.value, voxels, voxels * image.voxel_ml, longest, float(values.mean()), float(values.std())
    )


def find_lesions(
    image: Image,
    roles: Roles,
    side_of: SideOf,
    min_ml: float,
    evidence_of: EvidenceOf,
    doubtful: Doubtful = lambda evidence, volume_ml: False,
    threads: int = 1,
) -> list[tuple[Lesion, LesionEvidence | None]]:
    """Return the lesions with what speaks for them, largest first, numbered from 1.

    Components below ``min_ml`` and ``doubtful`` ones are given back to the organ around them (in ``image.labels``).
    ``side_of`` takes a (z, y, x) index and returns "left", "right" or ""; ``evidence_of`` takes the label and (n, 3)
    such indices.
    """
    kept: list[tuple[Label, NDArray[np.bool_], list[int], LesionEvidence | None]] = []
    for label in roles.lesion_labels:
        mask = image.labels == label.value
        low, high = index_box(mask)
        if low == high:
            continue
        found = components(mask[box_slices(low, high)])
        for part in found.parts:
            first = [a + b for a, b in zip(part.low, low)]
            last = [a + b for a, b in zip(part.high, low)]
            inside = found.labels[box_slices(part.low, part.high)] == part.label
            volume_ml = part.voxels * image.voxel_ml
            if volume_ml < min_ml:
                _give_back(image.labels, inside, first, last, roles)
                continue
            asked = np.flatnonzero(inside)[:: part.voxels // _ASKED + 1]
            points = np.stack(np.unravel_index(asked, inside.shape), axis=1) + first
            evidence = evidence_of(label, points)
            if doubtful(evidence, volume_ml):
                _give_back(image.labels, inside, first, last, roles)
            else:
                kept.append((label, inside, first, evidence))
    measured = run_threaded(lambda part: _lesion(image, *part[:3], side_of), kept, threads)
    lesions = sorted(zip(measured, [part[3] for part in kept]), key=lambda pair: -pair[0].volume_ml)
    return [(replace(lesion, number=n), evidence) for n, (lesion, evidence) in enumerate(lesions, 1)]


def _give_back(
    labels: NDArray[np.uint8], inside: NDArray[np.bool_], first: list[int], last: list[int], roles: Roles
) -> None:
    """Set the voxels of a small component to the organ that is most frequent around it, else to background."""
    around = labels[box_slices([max(0, a - 1) for a in first], [b + 1 for b in last])]
    counts = np.bincount(around.ravel(), minlength=256)
    organs = [label.value for label in roles.organ_labels]
    best = max(organs, key=lambda value: counts[value], default=0)
    labels[box_slices(first, last)][inside] = best if organs and counts[best] else 0


def _lesion(image: Image, label: Label, inside: NDArray[np.bool_], first: list[int], side_of: SideOf) -> Lesion:
    last = [a + n for a, n in zip(first, inside.shape)]
    values = image.hu[box_slices(first, last)][inside].astype(np.float64)
    affine = image.affine.copy()
    affine[:3, 3] = to_ras(np.array([first]), image.affine)[0]
    center = np.argwhere(inside).mean(axis=0)
    z, y, x = (float(c + a) for c, a in zip(center, first))
    ras = to_ras(np.array([[z, y, x]]), image.affine)[0]
    long, short = axial_diameters(inside, affine)
    return Lesion(
        number=0,
        name=label.name,
        value=label.value,
        side=side_of((z, y, x)),
        volume_ml=len(values) * image.voxel_ml,
        longest_diameter_mm=diameter(to_ras(corners(inside), affine), affine),
        axial_long_mm=long,
        axial_short_mm=short,
        hu_mean=float(values.mean()),
        hu_sd=float(values.std()),
        centroid_ras=(float(ras[0]), float(ras[1]), float(ras[2])),
    )
