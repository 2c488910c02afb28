"""The labels of an nnU-Net data set, and regions (nested, by sigmoid) as classes (exclusive, by softmax)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlfd.errors import ModelError

Pattern = tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """Class names by label value, the heads of the network, and which regions (heads) each class lies in."""

    classes: tuple[str, ...]
    heads: int
    patterns: tuple[Pattern, ...]
    """One row per class, 1 where the class is part of the region; empty for a network without regions."""


def read_labels(dataset: Mapping[str, Any], path: Path) -> Labels:
    """Return the labels of ``dataset.json``; label values become channels in their order, ``ignore`` is none."""
    table = dataset.get("labels")
    if not isinstance(table, Mapping) or "background" not in table:
        raise ModelError(
            f'dataset.json beside "{path.parent.name}" has no table of labels with background.',
            "Only data sets of nnU-Net version 2 (name: value) are read.",
        )
    named = {str(name): _values(value) for name, value in table.items() if name != "ignore"}
    regions = {name: values for name, values in named.items() if values != [0]}
    if not any(len(values) > 1 for values in regions.values()):
        ordered = sorted(named, key=lambda name: named[name][0])
        return Labels(tuple(ordered), len(ordered), ())
    values = sorted({value for members in regions.values() for value in members})
    patterns = [(0,) * len(regions)]
    patterns += [tuple(int(value in members) for members in regions.values()) for value in values]
    if len(set(patterns)) != len(patterns):
        raise ModelError(
            "The regions of dataset.json do not tell all of its label values apart.",
            "Use a model that was trained on labels.",
        )
    names = ["background", *(_smallest(regions, value) for value in values)]
    return Labels(tuple(names), len(regions), tuple(patterns))


def _values(value: Any) -> list[int]:
    try:
        return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"dataset.json has the label value {value!r}; an integer or a list was expected.") from error


def _smallest(regions: Mapping[str, Sequence[int]], value: int) -> str:
    """Return the name of the smallest region that holds a label value."""
    holding = {name: members for name, members in regions.items() if value in members}
    return min(holding, key=lambda name: len(holding[name]))


class RegionsToClasses(nn.Module):
    """Logits of exclusive classes from a network with one sigmoid per region.

    With z_r the logit of region r: log P(class) = sum over r of log sigmoid(z_r) where the class lies in r, and of
    log sigmoid(-z_r) where it does not, up to a constant. So for nested regions the most probable class is the one that
    thresholds at 0.5 give, wherever these agree with each other.
    """

    patterns: Tensor

    def __init__(self, network: nn.Module, patterns: Sequence[Pattern]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("patterns", torch.tensor(patterns, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes, *spatial) of an image."""
        regions = self.network(image)
        inside, outside = F.logsigmoid(regions), F.logsigmoid(-regions)
        members = self.patterns.to(regions.dtype)
        return torch.einsum("kr,br...->bk...", members, inside) + torch.einsum("kr,br...->bk...", 1 - members, outside)
