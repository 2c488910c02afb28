"""What speaks for each lesion, gathered from the refiner's logits while they are at hand.

A network's mean probability inside a lesion says much about whether it is real, but not as a share of true lesions:
networks are too sure (Guo et al., ICML 2017). ``quality_model`` turns these numbers into such a share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.roles import Roles
from hlfd.preprocess.components import components, index_box
from hlfd.preprocess.frame import box_slices
from hlfd.preprocess.grid import Grid

_ASKED = 4000


@dataclass(frozen=True)
class LesionEvidence:
    """Numbers of one lesion on the refiner's grid, each of them between about -1 and 1."""

    certainty: float
    """Mean probability of the lesion's own class among its voxels."""
    lesion: float
    """Mean probability of any lesion class among its voxels."""
    size: float
    """Logarithm to base 1000 of the volume in ml."""

    @property
    def volume_ml(self) -> float:
        """Its volume."""
        return float(1000**self.size)

    def sized(self, volume_ml: float) -> LesionEvidence:
        """Return the evidence of a part of ``volume_ml``: on the image's grid a lesion may fall into several."""
        return replace(self, size=math.log(volume_ml, 1000))


@dataclass(frozen=True)
class RegionEvidence:
    """The lesions of one refined region: ``places`` (z, y, x) holds their number from 1 on ``grid``, 0 elsewhere.

    ``cysts`` says which of them are cysts.
    """

    places: NDArray[np.int32]
    grid: Grid
    lesions: tuple[LesionEvidence, ...]
    cysts: tuple[bool, ...]

    def at(self, points: NDArray[np.float64], cyst: bool) -> LesionEvidence | None:
        """Return the lesion of the kind on which most ``points`` (n, 3) in mm of the frame lie, None without one.

        Where none lies on one, the voxels count between whose centres the points lie: labels come from interpolation.
        """
        place = (points - self.grid.start) / self.grid.spacing
        return self._most(np.floor(place + 0.5), cyst) or self._most(
            np.concatenate([np.floor(place) + corner for corner in np.ndindex(2, 2, 2)]), cyst
        )

    def _most(self, places: NDArray[np.float64], cyst: bool) -> LesionEvidence | None:
        index = places.astype(np.intp)
        inside = np.all((index >= 0) & (index < self.places.shape), axis=1)
        counts = np.bincount(self.places[tuple(index[inside].T)], minlength=len(self.lesions) + 1)
        counts = counts[1:] * (np.array(self.cysts, bool) == cyst)
        return self.lesions[int(counts.argmax())] if counts.any() else None

    def mask(self, numbers: Sequence[int], grid: Grid) -> NDArray[np.bool_]:
        """Return the voxels (z, y, x) of ``grid``, of which ``self.grid`` is a part, that lie in the lesions given."""
        mask = np.zeros(grid.shape, np.bool_)
        mask[grid.slices(self.grid.box())] = np.isin(self.places, numbers)
        return mask


def gather_evidence(logits: NDArray[np.float32], labels: NDArray[np.uint8], grid: Grid, roles: Roles) -> RegionEvidence:
    """Return what ``logits`` (classes, z, y, x) and the cleaned ``labels`` (z, y, x) on ``grid`` say of lesions."""
    crop = box_slices(*index_box(np.isin(labels, roles.lesions)))
    places, classes = _numbered(labels[crop], roles)
    at = np.flatnonzero(places)
    number, count = places.ravel()[at] - 1, len(classes)
    voxels = np.bincount(number, minlength=count)
    # Some thousand voxels of a lesion tell its mean; all of them would take a twentieth of the whole run.
    asked = np.arange(len(at)) % (voxels // _ASKED + 1)[number] == 0
    at, number = at[asked], number[asked]
    chances = probabilities(logits[(slice(None), *crop)][(slice(None), *np.unravel_index(at, places.shape))])
    weights = np.maximum(np.bincount(number, minlength=count), 1)
    own = np.bincount(number, chances[classes[number], np.arange(len(number))], minlength=count) / weights
    any_lesion = np.bincount(number, chances[list(roles.lesions)].sum(axis=0), minlength=count) / weights
    sizes = np.log(voxels * grid.voxel_ml) / np.log(1000)
    lesions = tuple(LesionEvidence(*(float(v) for v in row)) for row in zip(own, any_lesion, sizes))
    cropped = grid.crop([s.start for s in crop], [s.stop for s in crop])  # type: ignore[arg-type]
    return RegionEvidence(places, cropped, lesions, tuple(int(index) in roles.cysts for index in classes))


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the first axis."""
    shifted = np.exp(logits - logits.max(axis=0))
    return np.asarray(shifted / shifted.sum(axis=0))


def _numbered(labels: NDArray[np.uint8], roles: Roles) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Return the number of each voxel's lesion from 1 on, 0 elsewhere, and the class of each lesion."""
    places = np.zeros(labels.shape, np.int32)
    classes: list[int] = []
    for index in roles.lesions:
        mask = labels == index
        found = components(mask)
        np.add(found.labels, len(classes), out=places, where=mask, casting="unsafe")
        classes += [index] * len(found.parts)
    return places, np.array(classes, np.intp)
