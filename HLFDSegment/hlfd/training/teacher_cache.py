"""Teacher outputs computed once per prepared case, on the organ's regions alone, kept quantised and memory-mapped.

The student of a cached distillation never runs the teacher: patches bring its logits and features along. They are those
of the whole region, so they know more of the surroundings than a teacher that sees the patch alone; that is how a
teacher works in inference too. Per case a folder holds ``<region>-<tap>.npy`` (channels, z, y, x) and ``teacher.json``,
which is written last and names what the outputs were made from, the scale of each channel, and SHA-256 sums.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlfd.config import look_up
from hlfd.distillation.teacher import OnlineTeacher
from hlfd.errors import ConfigError, ModelError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Warn, ignore
from hlfd.files import write_array, write_text
from hlfd.models.package import file_sha256
from hlfd.preprocess.intensity import window_channels
from hlfd.training.cases import CachedCase
from hlfd.training.precision import choose_device, choose_precision
from hlfd.training.settings import PRECISIONS
from hlfd.training.teacher_regions import Region, cut_region, organ_regions

_LAYOUT = 1  # raise it when the stored files change their meaning
_DESCRIPTION = "teacher.json"


@dataclass(frozen=True)
class CacheSettings:
    """How teacher outputs are kept."""

    dtype: str = "uint8"
    """``uint8`` (an error of at most 1/510 of a channel's range) or ``float16`` (relative error 2^-11, twice the size).
    """
    margin_mm: float = 16.0
    """Added around the labelled organ on every side, as around the regions of inference."""
    max_voxels: int = 8_000_000
    """Larger regions are split, with an overlap of one patch."""
    device: str = "auto"
    """Where the teacher runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: str = "float32"
    """In which it computes, see ``TrainSettings``; half precision loses more than the quantisation does."""

    def __post_init__(self) -> None:
        look_up(self.dtype, ("uint8", "float16"), "dtype of cached outputs")
        look_up(self.precision, PRECISIONS, "precision")
        if self.margin_mm < 0 or self.max_voxels < 1:
            raise ConfigError("margin_mm must not be negative and max_voxels at least 1.")


@dataclass(frozen=True)
class CachedTap:
    """One tap of one region: stored values * ``step`` + ``low``, per channel, are the teacher's."""

    file: Path
    stride: tuple[int, int, int]
    low: NDArray[np.float32]
    step: NDArray[np.float32]

    def read(self, offset: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
        """Return float32 (channels, z, y, x) for the patch of ``size`` voxels at ``offset`` in the region."""
        stored = np.load(self.file, mmap_mode="r")
        part = tuple(slice(o // s, (o + n) // s) for o, n, s in zip(offset, size, self.stride))
        shape = (-1, 1, 1, 1)
        values = np.multiply(stored[(slice(None), *part)], self.step.reshape(shape), dtype=np.float32)
        values += self.low.reshape(shape)
        return values


@dataclass(frozen=True)
class CachedRegion:
    """A region of a case and the teacher's taps on it."""

    region: Region
    taps: dict[str, CachedTap]


@dataclass(frozen=True)
class CachedTeacher:
    """All that is kept of the teacher for one case."""

    name: str
    regions: tuple[CachedRegion, ...]


@dataclass(frozen=True)
class TeacherCache:
    """Writes and opens the cached outputs of one teacher.

    ``windows`` are the HU windows of its input, ``divisor`` what its input sizes must be multiples of, ``patch`` the
    student's patch, which every region can hold. ``identity`` names the teacher, such as the SHA-256 of its weights:
    outputs of another one are made again.
    """

    folder: Path
    teacher: OnlineTeacher
    identity: str
    taps: tuple[str, ...]
    windows: tuple[tuple[float, float], ...]
    divisor: int
    patch: tuple[int, int, int]
    spacing_mm: float
    settings: CacheSettings

    def fill(
        self, cases: Sequence[CachedCase], on_event: OnEvent = ignore, cancel: CancelToken | None = None
    ) -> list[CachedTeacher]:
        """Compute what is missing, outdated or damaged, and return the outputs of all ``cases``.

        Cases are independent of each other, so several processes may each fill a part of them. A broken run goes on
        where it stopped. Raises ``DiskFullError`` or ``OutputError``; what was finished stays.
        """
        clock = ProgressClock(len(cases), on_event, cancel)
        filled = []
        for case in cases:
            filled.append(self.fill_case(case, on_event))
            clock.advance()
        return filled

    def fill_case(self, case: CachedCase, on_event: OnEvent = ignore) -> CachedTeacher:
        """Return the outputs of one case, computed unless they are there already."""
        folder, key = self.folder / case.name, self._key(case)
        try:
            if _read_description(folder)["key"] == key:
                return open_teacher(folder)
        except FileNotFoundError:
            pass
        except (ModelError, KeyError, ValueError) as error:
            on_event(Warn(f"{error} The teacher's outputs of {case.name} are made again."))
        (folder / _DESCRIPTION).unlink(missing_ok=True)
        regions = []
        for index, region in enumerate(self.regions(case)):
            outputs = self.outputs(case, region)
            regions.append({**region.to_dict(), "taps": self._store(folder, index, region, outputs)})
        # Written last: its presence says that the case is complete.
        write_text(folder / _DESCRIPTION, json.dumps({"key": key, "regions": regions}))
        return open_teacher(folder, verify=False)

    def regions(self, case: CachedCase) -> list[Region]:
        """Return where the teacher runs in a case."""
        settings = self.settings
        margin = round(settings.margin_mm / self.spacing_mm)
        return organ_regions(case.label, margin, self.patch, self.divisor, settings.max_voxels)

    def outputs(self, case: CachedCase, region: Region) -> dict[str, Tensor]:
        """Run the teacher on one region and return its taps, float32 (channels, z, y, x) on the CPU."""
        device = choose_device(self.settings.device)
        hu = cut_region(case.image, region).astype(np.float32)
        image = torch.from_numpy(window_channels(hu, self.windows)).to(device)
        with choose_precision(self.settings.precision, device).autocast():
            outputs = self.teacher.outputs(image, self.taps)
        return {name: tensor[0].float().cpu() for name, tensor in outputs.items()}

    def _key(self, case: CachedCase) -> dict[str, Any]:
        return {
            "layout": _LAYOUT,
            "teacher": self.identity,
            "taps": list(self.taps),
            "windows": [list(window) for window in self.windows],
            "patch": list(self.patch),
            "spacing_mm": self.spacing_mm,
            "settings": {name: value for name, value in vars(self.settings).items() if name != "device"},
            "case": list(case.source),
        }

    def _store(self, folder: Path, index: int, region: Region, outputs: dict[str, Tensor]) -> dict[str, Any]:
        entries = {}
        for name, tensor in outputs.items():
            stored, low, step = quantise(tensor, self.settings.dtype)
            path = folder / f"{index}-{name}.npy"
            write_array(path, stored)
            entries[name] = {
                "file": path.name,
                "sha256": file_sha256(path),
                "stride": list(region.strides(tuple(tensor.shape[1:]), name)),
                "low": low.tolist(),
                "step": step.tolist(),
            }
        return entries


def quantise(values: Tensor, dtype: str) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Return stored values, ``low`` and ``step`` with values ~ stored * step + low; ``values`` is (channels, ...)."""
    flat = values.flatten(1)
    if dtype == "uint8":
        low = flat.amin(1)
        step = (flat.amax(1) - low) / 255
    else:  # brings each channel to -1..1, where float16 is finite and fine
        low = torch.zeros(len(flat))
        step = flat.abs().amax(1)
    step = torch.where(step > 0, step, torch.ones_like(step))
    scaled = (flat - low[:, None]) / step[:, None]
    stored = scaled.round_().clamp_(0, 255).to(torch.uint8) if dtype == "uint8" else scaled.half()
    return stored.reshape(values.shape).numpy(), low.numpy(), step.numpy()


def open_teacher(folder: Path, verify: bool = True) -> CachedTeacher:
    """Open the outputs of one case, memory-mapped when read.

    Raises ``ModelError`` for a file that is missing or damaged, ``FileNotFoundError`` where there are no outputs.
    """
    regions = []
    for entry in _read_description(folder)["regions"]:
        taps = {}
        for name, tap in entry["taps"].items():
            path = folder / tap["file"]
            if verify and not (path.is_file() and file_sha256(path) == tap["sha256"]):
                raise ModelError(f'The teacher\'s outputs in "{path}" are missing or damaged.', "Run the stage cache.")
            z, y, x = tap["stride"]
            low, step = (np.array(tap[key], np.float32) for key in ("low", "step"))
            taps[name] = CachedTap(path, (z, y, x), low, step)
        regions.append(CachedRegion(Region.from_dict(entry), taps))
    return CachedTeacher(folder.name, tuple(regions))


def _read_description(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    return description
