"""No distillation: the student learns from labels alone. Part of every comparison."""

from __future__ import annotations

from torch import Tensor

from hlfd.distillation.base import Features, Method


class NoDistillation(Method):
    """Adds nothing to the segmentation loss and reads nothing, so that the teacher does not run."""

    name = "none"

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return no terms."""
        return {}
