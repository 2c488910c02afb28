"""How a student is adapted to a few own cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hlfd.config import look_up
from hlfd.distillation.settings import METHOD_NAMES
from hlfd.errors import ConfigError


@dataclass(frozen=True)
class FinetuneSettings:
    """How a student is adapted."""

    minutes: float = 10.0
    """Time up to the end of the training, preparation included; the number of steps follows from a measured one. 0
    goes on until the validation stops improving."""
    steps: int = 0
    """Optimiser steps; 0 takes them from ``minutes``."""
    lr: float = 1e-4
    """Highest learning rate: a tenth to a twentieth of that of a training from scratch."""
    batch_size: int = 2
    """Patches per step."""
    patch: int = 64
    """Side of the cubic patch in voxels; rounded up to what student and teacher take, and made smaller where the
    memory is too small for it."""
    method: str = "kd"
    """How the teacher guides: a name in ``METHOD_NAMES``, or several joined by ``+`` such as ``hlfd+kd``; ``none``
    learns from labels alone."""
    guide_weight: float = 1.0
    """Weight of the teacher's guidance; 0 learns from labels alone."""
    replay_share: float = 0.7
    """Share of simulated patches: one half looks as the student learned, against forgetting, the other as the local
    cases do, for variety. 0 simulates nothing."""
    replay_patients: int = 12
    """Simulated patients that these patches come from; one or two more are held back from the training."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    seed: int = 0
    """Seed of the choice of held-out cases, of the patches and of the training."""

    def __post_init__(self) -> None:
        for name in self.methods:
            look_up(name, METHOD_NAMES, "method")
        if self.minutes < 0 or self.steps < 0:
            raise ConfigError("minutes and steps must not be negative.")
        if not 0 <= self.replay_share < 1:
            raise ConfigError(f"replay_share is {self.replay_share}; 0 or more and below 1 was expected.")
        if self.guide_weight < 0 or min(self.batch_size, self.patch, self.replay_patients) < 1:
            raise ConfigError(
                "guide_weight must not be negative; batch_size, patch and replay_patients must be at least 1."
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods by which the teacher guides."""
        return tuple(name.strip() for name in self.method.split("+"))

    @property
    def guided(self) -> bool:
        """Whether a teacher takes part."""
        return self.guide_weight > 0 and self.method != "none"


@dataclass(frozen=True)
class Watch:
    """What is kept for those who watch: nothing by default."""

    samples: Path | None = None
    """Folder of example slices, one per validation."""
    on_sample: Callable[[int, Path], None] | None = None
    """Is told the step and the file of each of them."""
    predictions: Path | None = None
    """Folder of the label maps of the scored cases: ``<case>/before``, ``after`` and ``reference`` (.nii.gz)."""


NOTHING = Watch()
"""Nothing is kept."""
