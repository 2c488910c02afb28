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


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and torch (CPU and all GPUs)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of all random number generators as plain values and tensors."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, internal, gauss_next = random.getstate()
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore what ``random_state`` returned; GPU generators only where their number is the same."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
