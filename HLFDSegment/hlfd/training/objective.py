"""What a training step optimises: an objective runs the network on a batch and names its loss terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.losses import dice_ce_loss, label_loss

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
    """Plain supervised training with one loss of logits and labels: Dice plus cross-entropy unless given.

    Where batches hold ``weight`` (B, *spatial), the loss is given it as ``voxel_weights``.
    """

    def __init__(
        self,
        loss: Callable[..., Tensor] | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
    ) -> None:
        if loss is not None and class_weights is not None:
            raise ConfigError("class_weights belong to the default loss; give them to the loss that was passed.")
        self._loss = loss or partial(dice_ce_loss, class_weights=class_weights)

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the logits of ``batch["image"]`` and the term ``segmentation`` against ``batch["label"]``."""
        logits = network(batch["image"])
        return logits, {"segmentation": label_loss(self._loss, logits, batch)}
