"""Training patches from cached labelled cases, augmented, with a preference for what is labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hlfd.errors import ConfigError, EmptyInputError, InputError
from hlfd.preprocess.frame import AIR_HU
from hlfd.preprocess.intensity import window_channels
from hlfd.training.cases import CachedCase
from hlfd.training.source import Sample

Window = tuple[float, float]


@dataclass(frozen=True)
class CasePatches:
    """What patches of real cases look like, where they are taken, and how they are varied."""

    spacing_mm: float = 1.5
    """Isotropic spacing of the cached cases that patches are taken from."""
    size: tuple[int, int, int] = (96, 96, 96)
    """Voxels along (z, y, x)."""
    windows: tuple[Window, ...] = ((-200.0, 300.0), (-1000.0, 1000.0))
    """HU windows, one input channel each, mapped to -1..1 and clipped."""
    foreground_share: float = 0.75
    """Share of the patches near a labelled voxel; its label is drawn evenly, so that small ones are seen often."""
    flip_share: float = 0.5
    """Share of the patches that are mirrored left to right; 0 where the side matters."""
    rotation_deg: float = 10.0
    """Largest rotation about each axis."""
    scale: tuple[float, float] = (0.88, 1.14)
    """Range of a random enlargement per axis."""
    gain: float = 0.06
    """Largest relative change of the HU contrast."""
    shift_hu: float = 15.0
    """Largest shift of all HU."""
    noise_hu: float = 15.0
    """Largest standard deviation of added noise."""

    def __post_init__(self) -> None:
        if self.spacing_mm <= 0:
            raise ConfigError(f"spacing_mm is {self.spacing_mm}; a positive number was expected.")
        if len(self.size) != 3 or min(self.size) < 2:
            raise ConfigError(f"size is {self.size}; three numbers of voxels from 2 were expected.")
        if not self.windows or any(low >= high for low, high in self.windows):
            raise ConfigError(f"windows is {self.windows}; pairs (low, high) of HU with low < high were expected.")
        if not (0 <= self.foreground_share <= 1 and 0 <= self.flip_share <= 1):
            raise ConfigError("foreground_share and flip_share must lie between 0 and 1.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"scale is {self.scale}; 0 < low <= high was expected.")
        if min(self.rotation_deg, self.gain, self.shift_hu, self.noise_hu) < 0:
            raise ConfigError("rotation_deg, gain, shift_hu and noise_hu must not be negative.")


class CaseSource:
    """An endless ``PatchSource`` over cached cases; ``sample(index)`` is a pure function of the seed and the index.

    ``class_of`` maps label values to training classes (identity by default). Raises ``EmptyInputError`` without
    cases or labels, and ``InputError`` for a label value that it does not name.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        patches: CasePatches,
        class_of: Mapping[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        if not cases or not any(case.points for case in cases):
            raise EmptyInputError("There are no labelled voxels to train on.", "Check the cases with: hlfd check.")
        self._cases, self._patches, self._seed = list(cases), patches, seed
        self._class_of = class_lookup(cases, class_of)

    def sample(self, index: int) -> Sample:
        """Return ``image`` (windows, z, y, x) float32 in -1..1 and ``label`` (z, y, x) uint8 training classes."""
        rng = np.random.default_rng([self._seed, index])
        case = self._cases[int(rng.integers(len(self._cases)))]
        center = _center(case, self._patches, rng)
        hu, values = cut(case, center, _random_matrix(self._patches, rng), self._patches.size)
        hu = _vary_intensity(hu, self._patches, rng)
        channels = window_channels(hu, self._patches.windows)[0]
        return {"image": torch.from_numpy(channels), "label": torch.from_numpy(self._class_of[values])}


def class_lookup(cases: Sequence[CachedCase], class_of: Mapping[int, int] | None) -> NDArray[np.uint8]:
    """Return a table of 256 training classes by label value; refuse values of ``cases`` that ``class_of`` lacks."""
    if class_of is None:
        return np.arange(256, dtype=np.uint8)
    table = np.zeros(256, np.uint8)
    for value, index in class_of.items():
        table[value] = index
    for case in cases:
        unknown = sorted(set(case.points) - set(class_of))
        if unknown:
            raise InputError(
                f'The case "{case.name}" has label values {unknown}; known are {sorted(class_of)}.',
                "Add them to the classes of the recipe, or correct the label map.",
            )
    return table


def whole_case(
    case: CachedCase, windows: Sequence[Window], divisor: int, class_of: Mapping[int, int] | None = None
) -> Sample:
    """Return a whole case as one sample for validation, padded with air to a multiple of ``divisor``."""
    padding = [(0, -size % divisor) for size in case.image.shape]
    hu = np.pad(case.image.astype(np.float32), padding, constant_values=AIR_HU)
    label = np.pad(class_lookup([case], class_of)[case.label], padding)
    return {"image": torch.from_numpy(window_channels(hu, windows)[0]), "label": torch.from_numpy(label)}


def _center(case: CachedCase, patches: CasePatches, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the voxel position (z, y, x) at which a patch is centred."""
    if case.points and rng.random() < patches.foreground_share:
        values = sorted(case.points)
        points = case.points[values[int(rng.integers(len(values)))]]
        jitter = rng.uniform(-0.35, 0.35, 3) * patches.size
        return points[int(rng.integers(len(points)))] + jitter
    return rng.uniform(0, np.array(case.image.shape) - 1)


def _random_matrix(patches: CasePatches, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from patch offsets to case offsets, both in voxels (z, y, x)."""
    matrix = np.diag(1.0 / rng.uniform(*patches.scale, size=3))
    for plane in ((0, 1), (0, 2), (1, 2)):
        angle = np.radians(rng.uniform(-patches.rotation_deg, patches.rotation_deg))
        rotation = np.eye(3)
        rotation[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = matrix @ rotation
    if rng.random() < patches.flip_share:
        matrix = matrix @ np.diag([1.0, 1.0, -1.0])
    return matrix


def cut(
    case: CachedCase, center: NDArray[np.float64], matrix: NDArray[np.float64], size: tuple[int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return HU (trilinear) and label values (nearest) at center + matrix @ (index - (size - 1) / 2).

    ``center`` and ``matrix`` are in voxels of the case (z, y, x). Outside of the case there is air without labels.
    """
    half = (np.array(size) - 1) / 2
    reach = np.abs(matrix) @ half
    shape = np.array(case.image.shape)
    low = np.clip(np.floor(center - reach).astype(int) - 1, 0, np.maximum(shape - 2, 0))
    high = np.clip(np.ceil(center + reach).astype(int) + 2, np.minimum(low + 2, shape), shape)
    block = tuple(slice(a, b) for a, b in zip(low, high))
    # grid_sample speaks of -1..1 between the centres of the outer voxels, and of x before y before z.
    extent = np.maximum(high - low - 1, 1) / 2
    theta = np.column_stack([(matrix * half) / extent[:, None], (center - low) / extent - 1])
    theta = np.column_stack([theta[::-1, 2::-1], theta[::-1, 3]])
    grid = functional.affine_grid(torch.from_numpy(theta[None]).float(), [1, 1, *size], align_corners=True)

    def at_grid(array: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
        found = functional.grid_sample(torch.from_numpy(array[None, None]), grid, mode, "zeros", align_corners=True)
        return found[0, 0].numpy()

    hu = at_grid(case.image[block].astype(np.float32) - AIR_HU, "bilinear") + AIR_HU
    return hu, at_grid(case.label[block].astype(np.float32), "nearest").astype(np.uint8)


def _vary_intensity(hu: NDArray[np.float32], patches: CasePatches, rng: np.random.Generator) -> NDArray[np.float32]:
    gain, shift = 1 + rng.uniform(-patches.gain, patches.gain), rng.uniform(-patches.shift_hu, patches.shift_hu)
    noise = rng.standard_normal(hu.shape, np.float32) * np.float32(rng.uniform(0, patches.noise_hu))
    return hu * np.float32(gain) + np.float32(shift) + noise
