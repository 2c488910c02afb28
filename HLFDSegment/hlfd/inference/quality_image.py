"""Whether an image is like those that a model was trained on: its HU, its grain, and the organs that were found.

A network answers any input, also noise or a chest, and its answer does not tell (Hendrycks and Gimpel, ICLR 2017). So a
few plain numbers of every image are held against the range that they had on the scans the model was validated on.

``quality.limits`` of ``model.json``: ``{"soft": [0.25, null], "located": [0.55, null], ...}``, fields of
``ImageFacts``, ``LocatorFacts`` and ``OrganFacts`` with their lowest and highest accepted value; null is no limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import ModelError
from hlfd.inference.quality_lesions import probabilities
from hlfd.inference.roles import Roles
from hlfd.preprocess.frame import Frame
from hlfd.preprocess.grid import Box, Grid

SOFT_HU = (-200.0, 300.0)
TISSUE_HU = (-30.0, 300.0)
FAT_HU = (-180.0, -30.0)
BRIGHT_HU = 700.0
COARSE_MM = 10.0
_CLIP_HU = 1000.0
_LEAST_FAT = 0.02  # less of it is skin, borders of lungs and air that noise moved
_TINY = np.float32(1e-9)
_STEP = 3  # every third working voxel along each axis is enough for a mean over the body or a kidney at 1.5 mm
_NEAR_STEP = 2  # and every second one over an organ on the locator's grid

Limit = tuple[Optional[float], Optional[float]]


@dataclass(frozen=True)
class ImageFacts:
    """Numbers of an image inside the box of the body, of voxels about 10 mm apart."""

    soft: float
    """Share of voxels between -200 and 300 HU, as fat and organs are."""
    bright: float
    """Share of voxels above 700 HU, as only bone, contrast medium and metal are."""
    tissue: float
    """Median in HU of the voxels between -30 and 300 HU; 0 where there are none."""
    fat: float | None
    """Median in HU of the voxels between -180 and -30 HU, None where there are hardly any. It is the one tissue that
    neither contrast medium nor age changes much, so it tells a wrong slope that leaves organs in their range."""
    neighbours: float
    """Correlation of neighbouring voxels, at -1000 to 1000 HU: near 0 for noise; 0 where all are alike."""


@dataclass(frozen=True)
class LocatorFacts:
    """What the locator's answer to the whole body says."""

    entropy: float
    """Mean entropy of its classes over the body, 0 (sure everywhere) to the logarithm of their number."""


@dataclass(frozen=True)
class OrganFacts:
    """How sure the networks are of an organ that they found."""

    located: float
    """Mean probability of the organ among the voxels that the locator took for it; 1 where it did not look."""
    refined: float
    """Mean probability of organ and lesions together among the voxels that the refiner took for them."""


Facts = Union[ImageFacts, LocatorFacts, OrganFacts]

_WORDS = {
    "soft": "{value:.0%} of it has the HU of fat and organs, {range:.0%} were expected",
    "bright": "{value:.0%} of it is as bright as bone, {range:.0%} were expected; check the rescale intercept",
    "tissue": "its soft tissue has {value:.0f} HU, {range:.0f} were expected; check the rescale slope and intercept",
    "fat": "its fat has {value:.0f} HU, {range:.0f} were expected; check the rescale slope and intercept",
    "neighbours": "it is grainy like noise",
    "entropy": "the model is unsure of much that it shows",
    "located": "nothing in it looks surely like a {organ}",
    "refined": "what was found does not look surely like a {organ}",
}


def image_facts(frame: Frame, box: Box) -> ImageFacts:
    """Return the numbers of the part of the image inside ``box`` (mm of the frame)."""
    values, grid = frame.coarse(COARSE_MM)
    part = np.clip(np.asarray(values[grid.slices(box)], np.float32), -_CLIP_HU, _CLIP_HU)
    soft = int(np.count_nonzero((part > SOFT_HU[0]) & (part < SOFT_HU[1])))
    tissue = part[(part > TISSUE_HU[0]) & (part < TISSUE_HU[1])]
    fat = part[(part > FAT_HU[0]) & (part < FAT_HU[1])]
    return ImageFacts(
        soft=soft / part.size,
        bright=int(np.count_nonzero(part > BRIGHT_HU)) / part.size,
        tissue=float(np.median(tissue)) if tissue.size else 0.0,
        fat=float(np.median(fat)) if fat.size > _LEAST_FAT * part.size else None,
        neighbours=_correlation(part[:, :, 1:], part[:, :, :-1]),
    )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if a.size == 0 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def locator_facts(logits: NDArray[np.float32]) -> LocatorFacts:
    """Return the facts of the locator's logits (classes, z, y, x)."""
    chances = probabilities(logits[:, ::_STEP, ::_STEP, ::_STEP])
    return LocatorFacts(float(-np.sum(chances * np.log(chances + _TINY), axis=0).mean()))


def located_share(
    logits: NDArray[np.float32], mask: NDArray[np.bool_], grid: Grid, box: Box, organs: Sequence[int]
) -> float:
    """Return the mean probability of the classes ``organs`` in ``mask`` (z, y, x) inside ``box``; 0 for none."""
    crop = grid.slices(box)
    every = (slice(None, None, _NEAR_STEP),) * 3
    inside = mask[crop][every]
    if not inside.any():
        return 0.0
    chances = probabilities(logits[(slice(None), *crop)][(slice(None), *every)][:, inside])
    return float(chances[list(organs)].sum(axis=0).mean())


def refined_share(logits: NDArray[np.float32], labels: NDArray[np.uint8], roles: Roles) -> float:
    """Return the mean probability of organ and lesions in ``labels`` (z, y, x) above 0; 0 where there are none."""
    every = (slice(None, None, _STEP),) * 3
    mask = np.isin(labels[every], (*roles.organs, *roles.lesions))
    if not mask.any():
        return 0.0
    chances = probabilities(logits[(slice(None), *every)][:, mask])
    return float(chances[[*roles.organs, *roles.lesions]].sum(axis=0).mean())


@dataclass(frozen=True)
class Limits:
    """The accepted range of each number."""

    ranges: Mapping[str, Limit]

    @classmethod
    def of(cls, quality: Mapping[str, Any]) -> Limits | None:
        """Read ``quality`` of a package's ``model.json``; None where it has no limits."""
        values = quality.get("limits")
        if not values:
            return None
        try:
            ranges = {name: (_number(low), _number(high)) for name, (low, high) in values.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"quality.limits of model.json misstates {error}.", "Import the package again.") from error
        unknown = sorted(set(ranges) - set(_WORDS))
        if unknown:
            raise ModelError(f"quality.limits of model.json has unknown names: {unknown}.", "Update HLFD.")
        return cls(ranges)

    def broken(self, facts: Facts, organ: str) -> list[str]:
        """Return, in words, what about ``facts`` is out of its range; empty where all is as in training."""
        told = []
        for name, value in asdict(facts).items():
            low, high = self.ranges.get(name, (None, None))
            if value is None:
                continue
            if (low is not None and value < low) or (high is not None and value > high):
                told.append(_WORDS[name].format(value=value, range=_Range(low, high), organ=organ))
        return told


class _Range:
    """Words for a range: "at least 20 %", "at most 5 %", "20 to 80"."""

    def __init__(self, low: float | None, high: float | None) -> None:
        self._low, self._high = low, high

    def __format__(self, form: str) -> str:
        if self._low is None or self._high is None:
            edge, word = (self._high, "at most") if self._low is None else (self._low, "at least")
            return f"{word} {edge:{form}}"
        return f"{self._low:{form}} to {self._high:{form}}"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
