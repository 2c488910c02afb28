"""Voxel weights that make small lesions count: the cross entropy of a batch hardly notices 1,000 voxels of 500,000.

The idea is that of blob loss (Kofler et al., IPMI 2023, arXiv 2205.08209): every lesion matters, not every voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from hlfd.errors import ConfigError
from hlfd.training.source import PatchSource, Sample


@dataclass(frozen=True)
class SmallLesions:
    """Which lesions count more in the cross entropy, and how much."""

    classes: tuple[str, ...]
    """Training classes whose connected components are lesions."""
    below_ml: float = 20.0
    """A smaller lesion counts as much as one of this volume: its voxels weigh ``below_ml`` / volume, all others 1."""
    most: float = 8.0
    """Largest weight."""
    margin_voxels: int = 2
    """Width of the surroundings that have the lesion's weight, so that its border stays where it is."""

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigError("small_lesions names no classes; at least one training class was expected.")
        if self.below_ml <= 0 or self.most < 1 or self.margin_voxels < 0:
            raise ConfigError("small_lesions needs below_ml above 0, most of at least 1 and margin_voxels from 0.")


class LesionWeighted:
    """Patches of another source with ``weight`` (k, j, i) float32, one or more in every voxel.

    ``classes`` are the training classes that are lesions, ``voxel_ml`` is the volume of a voxel. A lesion that reaches
    the patch's border has weight 1: how large it is cannot be seen.
    """

    def __init__(self, source: PatchSource, settings: SmallLesions, classes: Sequence[int], voxel_ml: float) -> None:
        self._source, self._settings = source, settings
        self._classes, self._voxel_ml = list(classes), voxel_ml

    def sample(self, index: int) -> Sample:
        """Return the sample ``index`` of the source, and its weights."""
        sample = self._source.sample(index)
        weights = np.ones(sample["label"].shape, np.float32)
        for value in self._classes:
            np.maximum(weights, self._weights(sample["label"].numpy() == value), out=weights)
        return {**sample, "weight": torch.from_numpy(weights)}

    def _weights(self, lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
        settings = self._settings
        found, count = ndimage.label(lesion, np.ones((3, 3, 3)))
        volume = np.bincount(found.ravel(), minlength=count + 1) * self._voxel_ml
        weight = np.clip(settings.below_ml / np.maximum(volume, 1e-9), 1, settings.most)
        weight[0] = 1
        for axis in range(3):
            for side in (0, -1):
                weight[np.unique(found.take(side, axis))] = 1
        if not (weight > 1).any():
            return np.ones(lesion.shape, np.float32)
        spread = weight[found].astype(np.float32)
        return ndimage.maximum_filter(spread, 2 * settings.margin_voxels + 1)
