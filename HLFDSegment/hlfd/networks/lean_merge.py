"""Merging of classes before the head's upsampling: the same logits at a fraction of the time.

A head that is a transposed convolution with kernel = stride computes, per coarse voxel, stride^3 logits of every
trained class. Merging needs no neighbours, so it can be done there, on channels, and only the few merged classes go
to the full grid. The sum over the members of a group is a 1x1x1 convolution with ones, which runs at the rate of a
matrix product. Measured with 13 trained and 4 merged classes on two CPU cores (OpenVINO, 96^3): 0.16 s after the
head, 0.08 s before it, as fast as a network trained with 4 classes.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import SegmentationNetwork
from hlfd.networks.merge import MergeClasses
from hlfd.networks.s2d_unet import S2dUnet

_LARGEST = 80.0  # exp stays finite in float32; logits of a trained network are far smaller


class LeanMerge(SegmentationNetwork):
    """A 3-D ``MergeClasses`` of an ``S2dUnet`` with batch norm folded, rebuilt for export; logits are the same.

    Weights are copied. Raises ``ConfigError`` for other networks.
    """

    def __init__(self, merged: MergeClasses) -> None:
        network = merged.network
        if not can_be_lean(merged):
            raise ConfigError(f"LeanMerge takes a merged 3-D s2d_unet, not {type(network).__name__}.")
        super().__init__(merged.description)
        head: Any = network.head
        stride = int(head.stride[0])
        self.network = copy.deepcopy(network)
        self.network.head = nn.Identity()
        self.members = nn.ModuleList(_coarse_head(head, group) for group in merged.groups)
        self.sums = nn.ModuleList(_sum_of_members(len(group), stride**3) for group in merged.groups)
        self.upsample = _depth_to_space(len(merged.groups), stride)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the merged logits of a checked input."""
        features = self.network.logits(image)
        merged = []
        for members, total in zip(self.members, self.sums):
            logits = members(features)
            single = isinstance(total, nn.Identity)
            merged.append(logits if single else total(logits.clamp(-_LARGEST, _LARGEST).exp()).log())
        result: Tensor = self.upsample(torch.cat(merged, 1))
        return result


def can_be_lean(module: nn.Module) -> bool:
    """Return whether ``LeanMerge`` takes the module."""
    return (
        isinstance(module, MergeClasses)
        and isinstance(module.network, S2dUnet)
        and module.network.description.spatial_dims == 3
    )


def _coarse_head(head: nn.ConvTranspose3d, group: tuple[int, ...]) -> nn.Conv3d:
    """Return a 1x1x1 convolution to channels (class of the group, place inside a coarse voxel)."""
    places = math.prod(head.kernel_size)
    conv = nn.Conv3d(head.in_channels, places * len(group), 1)
    with torch.no_grad():
        weight = head.weight[:, list(group)].reshape(head.in_channels, -1)
        conv.weight.copy_(weight.T.reshape(-1, head.in_channels, 1, 1, 1))
        bias = torch.zeros(len(group)) if head.bias is None else head.bias[list(group)]
        conv.bias.copy_(bias.repeat_interleave(places))  # type: ignore[union-attr]
    return conv.requires_grad_(False)


def _sum_of_members(members: int, places: int) -> nn.Module:
    """Return a 1x1x1 convolution that adds channels (class, place) over the classes."""
    if members == 1:
        return nn.Identity()
    conv = nn.Conv3d(members * places, places, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(places).repeat(1, members).reshape(places, -1, 1, 1, 1))
    return conv.requires_grad_(False)


def _depth_to_space(classes: int, stride: int) -> nn.ConvTranspose3d:
    """Return a transposed convolution that puts channel (class, place) at its place; faster here than a transpose."""
    places = stride**3
    conv = nn.ConvTranspose3d(classes * places, classes, stride, stride, bias=False)
    with torch.no_grad():
        weight = torch.zeros(classes, places, classes, places)
        for index in range(classes):
            weight[index, :, index] = torch.eye(places)
        conv.weight.copy_(weight.reshape(classes * places, classes, stride, stride, stride))
    return conv.requires_grad_(False)
