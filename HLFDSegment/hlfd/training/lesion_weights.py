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
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
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
        label = sample["label"].numpy()
        weights = np.ones(label.shape, np.float32)
        for value in self._classes:
            self._raise(weights, label == value)
        return {**sample, "weight": torch.from_numpy(weights)}

    def _raise(self, weights: NDArray[np.float32], lesion: NDArray[np.bool_]) -> None:
        """Raise ``weights`` in and around each small lesion of a mask to its weight."""
        settings, margin = self._settings, self._settings.margin_voxels
        first, last = index_box(lesion)
        if first == last:
            return
        found, _ = ndimage.label(lesion[box_slices(first, last)], np.ones((3, 3, 3)))
        for number, box in enumerate(ndimage.find_objects(found), start=1):
            low = [part.start + start for part, start in zip(box, first)]
            high = [part.stop + start for part, start in zip(box, first)]
            if min(low) == 0 or any(stop == size for stop, size in zip(high, lesion.shape)):
                continue
            own = np.pad(found[box] == number, margin)
            around = ndimage.maximum_filter(own, 2 * margin + 1)
            weight = np.clip(settings.below_ml / (np.count_nonzero(own) * self._voxel_ml), 1, settings.most)
            cut = tuple(slice(max(margin - start, 0), margin + size - start) for start, size in zip(low, lesion.shape))
            near = tuple(slice(max(start - margin, 0), stop + margin) for start, stop in zip(low, high))
            np.maximum(weights[near], weight, out=weights[near], where=around[cut])
