"""Validation during training: Dice per class over a fixed list of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.merge import merge_logits

Groups = Sequence[Sequence[int]]


class PatchValidator:
    """Dice of a network on held-out samples, to be given to ``fit``.

    ``samples`` are those of a ``PatchSource``: patches, or whole volumes padded to the network's divisor. ``names``
    are the classes, background first. ``groups`` lists per class the trained channels merged into it (also in the
    labels); without it channels are classes. Counts are added up over all samples before the ratio is taken, so empty
    patches need no rule of their own.
    """

    def __init__(
        self, samples: Sequence[dict[str, Tensor]], names: Sequence[str], groups: Groups | None = None
    ) -> None:
        if not samples:
            raise ConfigError("There are no validation samples.", "Keep some cases for validation.")
        self._samples = list(samples)
        self._names = list(names)
        self._groups = [list(group) for group in groups or [[i] for i in range(len(names))]]
        if len(self._groups) != len(self._names):
            raise ConfigError(f"{len(self._groups)} groups were given for the classes {self._names}.")
        self._class_of = torch.zeros(sum(map(len, self._groups)), dtype=torch.long)
        for index, group in enumerate(self._groups):
            self._class_of[group] = index

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return ``dice_<name>`` per foreground class and their mean ``dice``; 1 where truth and result are empty."""
        dice = class_dice(*self.counts(network)).tolist()
        named = {f"dice_{name}": value for name, value in zip(self._names[1:], dice[1:])}
        return {"dice": sum(dice[1:]) / len(dice[1:]), **named}

    def counts(self, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Return per class (C,) over all samples the voxels in truth and result, and those of both added up."""
        count = len(self._names)
        confusion = torch.zeros(count * count, dtype=torch.long)
        weight = next(network.parameters())
        for sample in self._samples:
            with torch.no_grad():
                logits = network(sample["image"][None].to(weight.device))
                predicted = merge_logits(logits.float(), self._groups)[0].argmax(0).cpu()
            truth = self._class_of[sample["label"].long()]
            confusion += torch.bincount((truth * count + predicted).flatten(), minlength=count * count)
        square = confusion.reshape(count, count)  # (truth, predicted)
        return square.diagonal().clone(), square.sum(0) + square.sum(1)


def class_dice(overlap: Tensor, total: Tensor) -> Tensor:
    """Return Dice per class (C,) from what ``PatchValidator.counts`` returns; 1 where there is nothing to find."""
    return torch.where(total > 0, 2 * overlap.double() / total.clamp(min=1), 1.0)
