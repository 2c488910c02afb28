"""The state of a run on disk: where its files lie, and how everything random is kept and restored."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hlfd.checkpoint import load_state, save_state
from hlfd.errors import ModelError
from hlfd.events import OnEvent, Warn


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The last complete training state."""
        return self.path / "checkpoint.pt"

    @property
    def previous(self) -> Path:
        """The training state before the last."""
        return self.path / "checkpoint.previous.pt"

    @property
    def best(self) -> Path:
        """Averaged weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """Averaged weights of the last step."""
        return self.path / "last.safetensors"

    def clear_leftovers(self) -> None:
        """Remove the temporary files of a run that was killed while it wrote one."""
        for leftover in self.path.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def save(self, state: dict[str, Any]) -> None:
        """Write the training state atomically and keep the one before."""
        save_state(state, self.checkpoint, self.previous)

    def load(self, on_event: OnEvent) -> dict[str, Any] | None:
        """Return the newest readable state or None; a damaged one is reported and the previous one taken."""
        for path in (self.checkpoint, self.previous):
            if path.exists():
                try:
                    return load_state(path)
                except ModelError as error:
                    on_event(Warn(f"{error.message} An earlier state is looked for."))
        return None


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed the random numbers of Python, NumPy and torch (CPU and all GPUs) for one step of one process.

    They then depend on nothing that came before, so a resumed run needs no generator states, however many processes
    it had before.
    """
    drawn = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]
    random.seed(int(drawn))
    np.random.seed(int(drawn) % 2**32)
    torch.manual_seed(int(drawn) % 2**63)
