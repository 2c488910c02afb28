"""Training patches drawn from a pool of simulated anatomies, with a new scan simulated for every patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hlfd.config import look_up
from hlfd.data.pool import PoolEntry
from hlfd.errors import ConfigError
from hlfd.labels import PHANTOM_LABELS
from hlfd.phantom import AcquisitionSettings, Scan, render
from hlfd.phantom.intensity import PHASES
from hlfd.phantom.tissues import LABEL_OF_TISSUE, tissue_names
from hlfd.preprocess.intensity import window_channels


@dataclass(frozen=True)
class PatchSettings:
    """What a training patch looks like and where it is taken."""

    spacing_mm: float
    """Isotropic spacing of the patch in mm."""
    size: tuple[int, int, int]
    """Number of voxels along (k, j, i)."""
    windows: tuple[tuple[float, float], ...]
    """HU windows, one input channel each."""
    lesion_share: float = 0.4
    """Share of the patches that are centred near a tumour or cyst of a kidney."""
    kidney_share: float = 0.35
    """Share of the patches that are centred near a kidney; the rest lies anywhere in the body."""
    liver_lesion_share: float = 0.0
    """Share of the patches that are centred near a tumour, cyst or haemangioma of the liver."""
    liver_share: float = 0.0
    """Share of the patches that are centred near the liver."""
    jitter: float = 0.6
    """Largest shift of a centre near a structure from a point of it, as a share of half the patch's size."""
    flip_share: float = 0.3
    """Share of the patches that are mirrored left to right."""
    scale: tuple[float, float] = (0.88, 1.14)
    """Range of a random enlargement per axis."""
    blur_share: float = 0.35
    """Share of the patches that are resampled from a coarser acquisition."""
    blur_mm: tuple[float, float] = (2.0, 5.0)
    """Range of the in-plane and of the slice spacing in mm of a coarser acquisition: up to the first, the second."""
    phases: dict[str, float] | None = None
    """Weights of the contrast phases that are drawn; None takes those of the simulation (``PHASE_SHARES``)."""

    def __post_init__(self) -> None:
        for phase in self.phases or ():
            look_up(phase, PHASES, "phase in phases")
        shares = (self.lesion_share, self.kidney_share, self.liver_lesion_share, self.liver_share)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ConfigError(f"The shares of patches near structures are {shares}; at most 1 in all was expected.")


def class_lookup(classes: dict[str, list[str]]) -> NDArray[np.uint8]:
    """Return a table from tissue value to training class; class 0 takes every label that ``classes`` does not name.

    ``classes`` maps the name of a training class to the names of the phantom's labels that it covers, or of single
    tissues (``liver_cyst``), which it then takes from the class of their label.
    """
    labels = {label.name: label.value for label in PHANTOM_LABELS}
    tissues = tissue_names()
    of_label, of_tissue = np.zeros(256, np.uint8), {}
    for index, (name, members) in enumerate(classes.items(), start=1):
        for member in members:
            if member in labels:
                of_label[labels[member]] = index
            elif member in tissues:
                of_tissue[tissues[member]] = index
            else:
                known = f"the labels {sorted(labels)} and the tissues {sorted(tissues)}"
                raise ConfigError(f'Class "{name}" names "{member}"; known are {known}.')
    table = of_label[LABEL_OF_TISSUE]
    for value, index in of_tissue.items():
        table[value] = index
    return table


class PhantomSource:
    """An endless source of patches: ``sample(index)`` is a pure function of the seed and the index."""

    def __init__(
        self,
        entries: list[PoolEntry],
        settings: PatchSettings,
        classes: dict[str, list[str]],
        seed: int,
        scans: Callable[[np.random.Generator], Scan] | None = None,
    ) -> None:
        if not entries:
            raise ConfigError("The pool of anatomies is empty.", "Widen the range of cases in the recipe.")
        if settings.liver_share + settings.liver_lesion_share > 0 and not any(len(e.liver_points) for e in entries):
            raise ConfigError(
                "Patches near the liver are asked for, but the pool knows no place of it.",
                "Remove the pool's folder, which an earlier version made, and build it again.",
            )
        self.classes = classes
        self._entries = entries
        self._settings = settings
        self._scans = scans
        self._lookup = torch.from_numpy(class_lookup(classes))
        self._seed = seed

    def with_scans(self, scans: Callable[[np.random.Generator], Scan]) -> PhantomSource:
        """Return patches of the same anatomies as scanners of ``scans`` show them."""
        return PhantomSource(self._entries, self._settings, self.classes, self._seed + 1, scans)

    def sample(self, index: int) -> dict[str, torch.Tensor]:
        """Return ``image`` (channels, k, j, i) float32 in -1..1 and ``label`` (k, j, i) int64 training classes."""
        rng = np.random.default_rng([self._seed, index])
        entry = self._entries[int(rng.integers(len(self._entries)))]
        scale = rng.uniform(*self._settings.scale, size=3)
        tissue, inside = self._cut(entry, self._centre(entry, rng), scale)
        if rng.random() < self._settings.flip_share:
            tissue, inside = tissue[:, :, ::-1], inside[:, :, ::-1]
        patch = torch.from_numpy(np.ascontiguousarray(tissue))
        seed = int(rng.integers(2**31))
        image = self._render(patch, seed, rng)
        if rng.random() < self._settings.blur_share:
            image = self._coarsen(image, rng)
        image[torch.from_numpy(~inside)] = -1024.0  # beyond the scan, as the pipeline pads
        label = self._lookup[patch.long()].long()
        channels = window_channels(image.numpy(), self._settings.windows)[0]
        return {"image": torch.from_numpy(channels), "label": label}

    def _render(self, tissue: torch.Tensor, seed: int, rng: np.random.Generator) -> torch.Tensor:
        spacing = self._settings.spacing_mm
        if self._scans is not None:
            return render(tissue, spacing, seed, scan=self._scans(rng))
        return render(tissue, spacing, seed, AcquisitionSettings(phase=self._phase(rng)))

    def _phase(self, rng: np.random.Generator) -> str | None:
        phases = self._settings.phases
        if phases is None:
            return None
        weights = np.array(list(phases.values()))
        return str(rng.choice(list(phases), p=weights / weights.sum()))

    def _centre(self, entry: PoolEntry, rng: np.random.Generator) -> NDArray[np.float64]:
        draw, settings = rng.random(), self._settings
        reach = np.array(settings.size) * settings.spacing_mm / entry.spacing_mm / 2
        bound = 0.0
        for share, points in (
            (settings.lesion_share, entry.lesion_points),
            (settings.kidney_share, entry.kidney_points),
            (settings.liver_lesion_share, entry.liver_lesion_points),
            (settings.liver_share, entry.liver_points),
        ):
            bound += share
            if share > 0 and draw < bound and len(points):
                return points[rng.integers(len(points))] + rng.uniform(-settings.jitter, settings.jitter, 3) * reach
        low, high = entry.body_box
        return rng.uniform(low, high)

    def _cut(
        self, entry: PoolEntry, centre: NDArray[np.float64], scale: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Cut a patch by nearest neighbour; also return where it lies within the anatomy's slices."""
        step = self._settings.spacing_mm / entry.spacing_mm / scale
        axes, inside = [], []
        for axis in range(3):
            offset = np.arange(self._settings.size[axis]) - (self._settings.size[axis] - 1) / 2
            position = np.rint(centre[axis] + offset * step[axis]).astype(int)
            inside.append((position >= 0) & (position < entry.tissue.shape[axis]))
            axes.append(np.clip(position, 0, entry.tissue.shape[axis] - 1))
        (k0, k1), (j0, j1), (i0, i1) = ((a.min(), a.max() + 1) for a in axes)
        block = np.asarray(entry.tissue[k0:k1, j0:j1, i0:i1])
        tissue = block[np.ix_(axes[0] - k0, axes[1] - j0, axes[2] - i0)]
        return tissue, inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]

    def _coarsen(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        spacing = self._settings.spacing_mm
        plane = max(spacing, rng.uniform(spacing, max(spacing, self._settings.blur_mm[0])))
        axial = max(spacing, rng.uniform(spacing, max(spacing, self._settings.blur_mm[1])))
        shape = [max(4, round(n * spacing / s)) for n, s in zip(image.shape, (axial, plane, plane))]
        coarse = functional.interpolate(image[None, None], size=shape, mode="area")
        return functional.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=False)[0, 0]
