"""Smaller patches where the memory is too small for those that were asked for, said clearly and kept for later."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from hlfd.errors import GpuOutOfMemoryError, HlfdError, OutOfMemoryError
from hlfd.events import OnEvent, Warn
from hlfd.files import write_json
from hlfd.worker.classify import classify
from hlfd.worker.job_probe import memory_mb

T = TypeVar("T")


@dataclass(frozen=True)
class PatchSteps:
    """The sides that a patch may have: multiples of ``step`` from ``least`` on."""

    step: int
    least: int

    def at_least(self, patch: int) -> int:
        """Return the smallest allowed side that is not below ``patch``."""
        return max(self.least, -(-patch // self.step) * self.step)

    def below(self, patch: int) -> int | None:
        """Return the allowed side with about half the voxels, None where ``patch`` is the least."""
        smaller = max(self.least, int(0.8 * patch) // self.step * self.step)
        return smaller if smaller < patch else None


class FitMemory:
    """Side of the patch and patches per step of a run; what was made smaller is kept in ``path`` for a resumed one."""

    def __init__(self, path: Path, patch: int, batch_size: int, steps: PatchSteps, on_event: OnEvent) -> None:
        self._path, self._steps, self._on_event = path, steps, on_event
        self.patch, self.batch_size = steps.at_least(patch), batch_size
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            self.patch = min(self.patch, int(kept["patch"]))
            self.batch_size = min(self.batch_size, int(kept["batch_size"]))

    def shrink(self, where: str) -> bool:
        """Make the patch smaller, else the batch; False where both are at their least."""
        smaller = self._steps.below(self.patch)
        if smaller is not None:
            said = f"patches of {smaller} voxels a side instead of {self.patch}"
            self.patch = smaller
        elif self.batch_size > 1:
            said = f"{self.batch_size // 2} instead of {self.batch_size} patches per step"
            self.batch_size //= 2
        else:
            return False
        self._on_event(Warn(f"{where} is too small for the training as it was set; it goes on with {said}."))
        write_json(self._path, {"patch": self.patch, "batch_size": self.batch_size})
        return True


def with_less_memory(work: Callable[[], T], memory: FitMemory) -> T:
    """Return what ``work`` does, repeated with smaller patches for as long as the memory is too small.

    Raises ``GpuOutOfMemoryError`` or ``OutOfMemoryError`` where the smallest do not fit, and what ``work`` raises.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError, OSError, HlfdError) as error:
            known = want_of_memory(error)
            if known is None:
                raise
            gpu = isinstance(known, GpuOutOfMemoryError)
            if not memory.shrink("The memory of the GPU" if gpu else "The memory"):
                raise type(known)(
                    f"{known.message} The smallest patches that the networks take do not fit either.",
                    "Choose the device CPU." if gpu else "Close other programs, or train on another machine.",
                ) from error
        gc.collect()  # the networks of the attempt, before the next one
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def want_of_memory(error: BaseException) -> GpuOutOfMemoryError | OutOfMemoryError | None:
    """Return the error for the user where ``error`` comes of too little memory, else None."""
    if isinstance(error, HlfdError) and not isinstance(error, (GpuOutOfMemoryError, OutOfMemoryError)):
        return None
    known = classify(error)
    return known if isinstance(known, (GpuOutOfMemoryError, OutOfMemoryError)) else None


def free_memory_mb(device: torch.device) -> float | None:
    """Return the MiB that are free on a device, None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return memory_mb()[1]
