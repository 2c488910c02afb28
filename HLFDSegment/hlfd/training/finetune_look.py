"""Simulated scans that look like the local ones: the intensities of the labelled structures and the noise are measured.

A few local cases show a scanner and a protocol, but few patients. Simulated patients in that look bring the variety:
tumors and cysts of all sizes and places, with exact labels, as the local scanner would show them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hlfd.phantom import Scan, Tissue
from hlfd.phantom.intensity import Patient, draw_patient
from hlfd.training.cases import CachedCase

_CORTEX = (Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_RIGHT_CORTEX)
_MEDULLA = (Tissue.KIDNEY_LEFT_MEDULLA, Tissue.KIDNEY_RIGHT_MEDULLA)
_LESIONS = {  # cysts take up no iodine: they are water on every scanner, and small ones cannot be measured
    "kidney tumor": (Tissue.TUMOR_CLEAR_CELL, Tissue.TUMOR_PAPILLARY, Tissue.TUMOR_CHROMOPHOBE),
    "liver tumor": (
        *(Tissue.LIVER_METASTASIS, Tissue.LIVER_METASTASIS_2, Tissue.LIVER_METASTASIS_3),
        *(Tissue.LIVER_HCC, Tissue.LIVER_HCC_2),
    ),
}
_ORGANS = {"left kidney": (_MEDULLA, _CORTEX), "right kidney": (_MEDULLA, _CORTEX), "liver": ((), (Tissue.LIVER,))}
_LEAST_VOXELS = 120
"""Of the inside of a structure; the mean of fewer is mostly noise and the neighbours."""
_DRAWS, _NEAREST = 400, 8
_DARK_SHARE = 0.35
"""Of a kidney is medulla, on average."""
_DEEP = 3
"""Voxels from the surface of a lesion, where thick slices and a soft kernel no longer mix it with its surroundings."""
_LAG = 3  # voxels after which the noise of a scan hardly correlates


@dataclass(frozen=True)
class Look:
    """What one scan looks like, in HU: the dark and bright parts of its organ, its lesions, and its noise."""

    organ: str
    dark: float
    bright: float
    lesions: Mapping[str, tuple[float, ...]]
    """Mean HU of every lesion by the name of its label."""
    noise: float
    """Standard deviation."""
    grain_mm: float
    """Sigma of the Gaussian that correlates the noise in plane."""


def measure_look(case: CachedCase, members: Sequence[str], spacing_mm: float) -> Look | None:
    """Return the look of a case, None where none of its labels is an organ that the simulation knows.

    ``members[value]`` names the simulation's label of a label value of the case ("" for none).
    """
    names = [members[value] if value < len(members) else "" for value in range(int(case.label.max(initial=0)) + 1)]
    organ_values = [value for value, name in enumerate(names) if name in _ORGANS]
    box = ndimage.find_objects((case.label > 0).astype(np.uint8))
    if not organ_values or not box:
        return None
    hu, label = case.image[box[0]].astype(np.float32), case.label[box[0]]
    organ = _inside(np.isin(label, organ_values))
    if organ.sum() < _LEAST_VOXELS:
        return None
    lesions: dict[str, tuple[float, ...]] = {}
    inside = organ
    for name in _LESIONS:
        mask = np.isin(label, [value for value, own in enumerate(names) if own == name])
        inside = inside | _inside(mask)
        parts, count = ndimage.label(_inside(mask, _DEEP))
        smooth = _mean_within(hu, mask)
        lesions_hu = [smooth[parts == n] for n in range(1, count + 1)]
        # most of a tumor that is not dead lies in the upper half of its values; the dead part is simulated apart
        found = tuple(float(np.percentile(values, 70)) for values in lesions_hu if values.size >= _LEAST_VOXELS)
        if found:
            lesions[name] = found
    noise, grain = _noise(hu, inside, spacing_mm)
    dark, bright = _two_levels(hu[organ], noise)
    return Look(names[organ_values[0]], dark, bright, lesions, noise, grain)


class LocalLook:
    """Draws scans in the look of local cases: an organ as in one of them, lesions as in any, noise as measured."""

    def __init__(self, looks: Sequence[Look], seed: int) -> None:
        self._looks = list(looks)
        rng = np.random.default_rng([seed, 17])
        drawn = [draw_patient(rng) for _ in range(_DRAWS)]
        self._alike = [_nearest(look, drawn) for look in self._looks]

    def __call__(self, rng: np.random.Generator) -> Scan:
        """Return patient and scanner."""
        number = int(rng.integers(len(self._looks)))
        look = self._looks[number]
        patient = self._alike[number][int(rng.integers(len(self._alike[number])))]
        hu = patient.hu.copy()
        dark, bright = _ORGANS[look.organ]
        hu[list(bright)] = look.bright * rng.uniform(0.94, 1.06)
        hu[list(dark)] = look.dark * rng.uniform(0.94, 1.06)
        for name, tissues in _LESIONS.items():
            for tissue in tissues:
                found = [(own, value) for own in self._looks for value in own.lesions.get(name, ())]
                if found:
                    own, value = found[int(rng.integers(len(found)))]
                    follows = look.bright / own.bright if own.bright > 1 else 1.0  # iodine reaches both
                    hu[tissue] = value * float(np.clip(follows, 0.6, 1.6)) * rng.uniform(0.92, 1.08)
        return Scan(
            replace(patient, hu=hu),
            noise=look.noise * rng.uniform(0.8, 1.2),
            grain_mm=look.grain_mm * rng.uniform(0.85, 1.15),
            blur_mm=rng.uniform(0.6, 1.8),
            slice_mm=float(np.exp(rng.uniform(np.log(1.0), np.log(5.0)))),
            shading=rng.uniform(0, 6),
            streaks=0.0,
            sharpening=0.0,
            voxel_share=rng.uniform(0, 0.45),
        )


def _inside(mask: NDArray[np.bool_], voxels: int = 1) -> NDArray[np.bool_]:
    """Return a mask without the voxels at its surface, whose values are mixtures."""
    return np.asarray(ndimage.binary_erosion(mask, iterations=voxels))


def _mean_within(hu: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the Gaussian mean (1.5 voxels) over the voxels of the mask alone."""
    weight = ndimage.gaussian_filter(mask.astype(np.float32), 1.5)
    return np.asarray(ndimage.gaussian_filter(np.where(mask, hu, 0), 1.5) / np.maximum(weight, 1e-3))


def _two_levels(hu: NDArray[np.float32], noise: float) -> tuple[float, float]:
    """Return the HU of the dark and the bright part of an organ, from its mean and the variance beyond the noise.

    Percentiles would need a mean over neighbours against the noise, which mixes parts that are as thin as cortex.
    """
    low, high = np.percentile(hu, [1, 99])
    kept = hu[(hu >= low) & (hu <= high)]
    beyond = float(np.sqrt(max(float(kept.var()) - noise**2, 0.0)))
    mean, ratio = float(kept.mean()), float(np.sqrt(_DARK_SHARE / (1 - _DARK_SHARE)))
    return mean - beyond / ratio, mean + beyond * ratio


def _noise(hu: NDArray[np.float32], inside: NDArray[np.bool_], spacing_mm: float) -> tuple[float, float]:
    """Return sd and grain of the noise in plane, from differences of voxels that lie in the same structures.

    The variance of differences at a distance d is 2 sd^2 (1 - c(d)); at three voxels c is taken for 0.
    """
    near, far = (_difference_variance(hu, inside, lag) for lag in (1, _LAG))
    correlation = float(np.clip(1 - near / max(far, 1e-3), 0.02, 0.97))
    grain = spacing_mm / (2 * np.sqrt(-np.log(correlation)))
    return float(np.clip(np.sqrt(far / 2), 2.0, 80.0)), float(np.clip(grain, 0.35, 3.0))


def _difference_variance(hu: NDArray[np.float32], inside: NDArray[np.bool_], lag: int) -> float:
    values = []
    for axis in (1, 2):
        count = hu.shape[axis] - lag
        if count > 0:
            both = inside.take(range(count), axis) & inside.take(range(lag, count + lag), axis)
            values.append((hu.take(range(lag, count + lag), axis) - hu.take(range(count), axis))[both])
    found = np.concatenate(values) if values else np.zeros(0, np.float32)
    if found.size < _LEAST_VOXELS:
        return 2 * 12.0**2
    return float((1.4826 * np.median(np.abs(found - np.median(found)))) ** 2)  # robust to borders within organs


def _nearest(look: Look, drawn: Sequence[Patient]) -> list[Patient]:
    """Return the drawn patients whose organ and lesions are most like those of the look."""
    dark, bright = _ORGANS[look.organ]
    wanted = [(tissue, look.dark) for tissue in dark] + [(tissue, look.bright) for tissue in bright]
    for name, values in look.lesions.items():
        wanted += [(tissue, float(np.mean(values))) for tissue in _LESIONS[name]]
    far = [float(np.mean([abs(patient.hu[tissue] - value) for tissue, value in wanted])) for patient in drawn]
    return [drawn[n] for n in np.argsort(far)[:_NEAREST]]
