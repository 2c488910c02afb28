"""Training patches that bring the teacher's cached outputs along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.distillation.teacher import CACHED, TeacherSpec
from hlfd.errors import ConfigError, InputError
from hlfd.preprocess.intensity import window_channels
from hlfd.training.case_source import CasePatches, class_lookup
from hlfd.training.cases import CachedCase
from hlfd.training.source import Sample
from hlfd.training.teacher_cache import CachedRegion, CachedTeacher
from hlfd.training.teacher_regions import Region, cut_region


class TeacherCacheSource:
    """An endless ``PatchSource`` of image, label and ``teacher/<tap>``, all cut at the same place.

    Patches begin at multiples of the largest stride of the taps, counted from the region's first voxel, so that every
    tap is cut between its voxels. They may be mirrored left to right, image, labels and outputs together; rotation,
    scaling and changes of HU would need the teacher's answer to the changed image, so they are refused
    (``ConfigError``): use the teacher itself for them. ``sample(index)`` is a pure function of the seed and the index.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        teachers: Sequence[CachedTeacher],
        patches: CasePatches,
        class_of: Mapping[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        if [case.name for case in cases] != [teacher.name for teacher in teachers] or not cases:
            raise InputError("The cases and the cached teacher outputs are not of the same cases.", "Run stage cache.")
        changed = CasePatches(rotation_deg=0, scale=(1, 1), gain=0, shift_hu=0, noise_hu=0)
        for name in ("rotation_deg", "scale", "gain", "shift_hu", "noise_hu"):
            if tuple(np.atleast_1d(getattr(patches, name))) != tuple(np.atleast_1d(getattr(changed, name))):
                raise ConfigError(
                    f"Patches with cached teacher outputs cannot be varied by {name}.",
                    "Set it to none, or run the teacher beside the student.",
                )
        self._cases, self._teachers, self._patches, self._seed = list(cases), list(teachers), patches, seed
        self._class_of = class_lookup(cases, class_of)
        strides = np.array([tap.stride for t in teachers for r in t.regions for tap in r.taps.values()] or [(1, 1, 1)])
        self._alignment = strides.max(0)
        if np.any(np.remainder(patches.size, strides)) or np.any(np.remainder(self._alignment, strides)):
            raise ConfigError(
                f"The patch size {patches.size} is not a multiple of the teacher's strides, up to "
                f"{tuple(int(n) for n in self._alignment)}.",
                "Choose a patch size that is.",
            )

    @property
    def spec(self) -> TeacherSpec:
        """The teacher's taps as an objective needs to know them."""
        taps = self._teachers[0].regions[0].taps
        return TeacherSpec({name: len(tap.low) for name, tap in taps.items()})

    def sample(self, index: int) -> Sample:
        """Return ``image`` (windows, z, y, x), ``label`` (z, y, x) uint8, and ``teacher/<tap>`` (channels, ...)."""
        rng = np.random.default_rng([self._seed, index])
        number = int(rng.integers(len(self._cases)))
        case = self._cases[number]
        cached, offset = self._place(case, self._teachers[number].regions, rng)
        size = self._patches.size
        low = np.add(cached.region.low, offset)
        patch = Region((int(low[0]), int(low[1]), int(low[2])), size)
        hu = cut_region(case.image, patch).astype(np.float32)
        arrays = {
            "image": window_channels(hu, self._patches.windows)[0],
            "label": self._class_of[cut_region(case.label, patch, 0)],
            **{CACHED + name: tap.read(offset, size) for name, tap in cached.taps.items()},
        }
        if rng.random() < self._patches.flip_share:
            arrays = {name: np.ascontiguousarray(array[..., ::-1]) for name, array in arrays.items()}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _place(
        self, case: CachedCase, regions: Sequence[CachedRegion], rng: np.random.Generator
    ) -> tuple[CachedRegion, list[int]]:
        """Draw a region and the patch's offset in it, near a labelled voxel or anywhere."""
        size = np.array(self._patches.size)
        centre = self._labelled(case, rng)
        holding = [] if centre is None else [cached for cached in regions if cached.region.holds(centre)]
        cached = (holding or list(regions))[int(rng.integers(len(holding or regions)))]
        room = np.array(cached.region.shape) - size
        if holding and centre is not None:
            wanted = centre - cached.region.low - size / 2 + rng.uniform(-0.35, 0.35, 3) * size
        else:
            wanted = rng.uniform(0, room + 1)
        steps = np.rint(np.clip(wanted, 0, room) / self._alignment)
        offset = np.minimum(steps, room // self._alignment) * self._alignment
        return cached, [int(v) for v in offset]

    def _labelled(self, case: CachedCase, rng: np.random.Generator) -> NDArray[np.int64] | None:
        if not case.points or rng.random() >= self._patches.foreground_share:
            return None
        values = sorted(case.points)
        points = case.points[values[int(rng.integers(len(values)))]]
        return points[int(rng.integers(len(points)))]
