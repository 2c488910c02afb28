"""What a training step optimises: an objective runs the network on a batch and names its loss terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

Batch = dict[str, Tensor]


class Objective(Protocol):
    """Called once per step inside autocast.

    Returns the logits (B, C, *spatial) and named, weighted loss terms (0-d tensors); the loop optimises their sum and
    never knows what they mean. An objective that is an ``nn.Module`` has its trainable parameters (such as learned
    projections) optimised and checkpointed beside the network's, and never exported.
    """

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Run ``network`` on ``batch`` and return logits and loss terms."""
        ...


class Supervised:
    """Plain supervised training with one loss of logits and labels."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._loss = loss

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits of ``batch["image"]`` and the term ``segmentation`` against ``batch["label"]``."""
        logits = network(batch["image"])
        return logits, {"segmentation": self._loss(logits, batch["label"])}
