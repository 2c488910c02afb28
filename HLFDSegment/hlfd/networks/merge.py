"""Merging of trained classes into the classes that a model exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork


class MergeClasses(SegmentationNetwork):
    """Logits of groups of trained classes: ``logsumexp`` over each group.

    With softmax this adds the probabilities of the group's members, so auxiliary classes of training (liver, bowel,
    muscle) become background at export without loss. ``groups`` lists, per exported class, the trained channels;
    every trained channel must appear exactly once, else ``ConfigError``.
    """

    def __init__(self, network: SegmentationNetwork, groups: Sequence[Sequence[int]]) -> None:
        facts = network.description
        members = sorted(channel for group in groups for channel in group)
        if members != list(range(facts.classes)) or not all(groups):
            raise ConfigError(
                f"groups is {[list(group) for group in groups]}; each of the channels 0..{facts.classes - 1} exactly "
                "once, in non-empty groups, was expected."
            )
        taps = {name: f"network.{path}" for name, path in facts.taps.items()}
        super().__init__(
            NetworkDescription(
                facts.in_channels, len(groups), facts.spatial_dims, facts.divisor, facts.receptive_field, taps
            )
        )
        self.network = network
        self.groups = tuple(tuple(int(channel) for channel in group) for group in groups)

    def batchnorm_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of the merged network."""
        return [(f"network.{conv}", f"network.{norm}") for conv, norm in self.network.batchnorm_pairs()]

    def logits(self, image: Tensor) -> Tensor:
        """Compute the merged logits of a checked input."""
        return merge_logits(self.network.logits(image), self.groups)


def channel_groups(classes: Sequence[str], exported: Mapping[str, Sequence[str]]) -> list[list[int]]:
    """Return the channels of trained ``classes`` (from 1) that make each exported class, background first.

    ``exported`` names the members of each exported class; what no class has joins channel 0 in the background.
    """
    channel = {name: index for index, name in enumerate(classes, start=1)}
    groups = [[channel[member] for member in members] for members in exported.values()]
    used = {index for group in groups for index in group}
    return [[index for index in range(len(classes) + 1) if index not in used], *groups]


def merge_logits(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Merge (B, C, *spatial) to (B, len(groups), *spatial) by logsumexp over each group of channels."""
    return torch.cat([_merged(logits, group) for group in groups], dim=1)


def _merged(logits: Tensor, group: Sequence[int]) -> Tensor:
    if len(group) == 1:
        return logits[:, group[0] : group[0] + 1]
    # Written out, because exporters turn torch.logsumexp into a plain log of sums that overflows in half precision.
    members = logits[:, list(group)]
    top = members.amax(dim=1, keepdim=True)
    return top + (members - top).exp().sum(dim=1, keepdim=True).log()
