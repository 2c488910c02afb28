"""Merging of classes before the head's upsampling: the same logits at a fraction of the time.

A head that is a transposed convolution with kernel = stride computes, per coarse voxel, stride^3 logits of every
trained class. Merging needs no neighbours, so it can be done there, on channels, and only the few merged classes go
to the full grid. What is left is memory traffic, so every step is a 1x1x1 convolution with all that follows it inside:

- the logits of all members of groups, less a shift, through a sigmoid, which far below zero is the exponential and
  which OpenVINO computes inside the convolution, as it does not with an exponential;
- their sums, a convolution with ones, and the logarithm;
- the logits of groups of one, plus the sums at their places, instead of a concatenation, plus the shift.

Measured with 8 trained and 4 merged classes on two CPU cores (OpenVINO, 112x96x96 voxels): 14 ms where exponential and
concatenation took 22, of a pass of 58.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import SegmentationNetwork
from hlfd.networks.merge import MergeClasses
from hlfd.networks.s2d_unet import S2dUnet

_SHIFT = 50.0
"""sigmoid(x - 50) is exp(x - 50) to 3e-7 up to x = 35; the largest logit seen of the shipped networks is 27."""
_SMALLEST = -36.0
"""exp(-36 - 50) is still a normal number in float32. Of a group as unlikely as that nothing more is known."""
_LEAST_SUM, _MOST_SUM = 4e-38, 1e3
"""Below exp(-36 - 50), so that no logarithm of zero is taken where a processor's sigmoid ends earlier, and above all
that can be; OpenVINO computes only a limit on both sides inside the convolution."""


class LeanMerge(SegmentationNetwork):
    """A 3-D ``MergeClasses`` of an ``S2dUnet`` with batch norm folded, rebuilt for export; logits are the same.

    Weights are copied. ``sigmoid`` is for OpenVINO; onnxruntime's is no exponential below -18, so it gets that itself.
    Raises ``ConfigError`` for other networks.
    """

    def __init__(self, merged: MergeClasses, sigmoid: bool = True) -> None:
        network = merged.network
        if not can_be_lean(merged):
            raise ConfigError(f"LeanMerge takes a merged 3-D s2d_unet, not {type(network).__name__}.")
        super().__init__(merged.description)
        head: Any = network.head
        stride = int(head.stride[0])
        self.sigmoid = sigmoid
        self.network = copy.deepcopy(network)
        self.network.head = nn.Identity()
        places = stride**3
        several = [number for number, group in enumerate(merged.groups) if len(group) > 1]
        self.members = _coarse_head(head, [c for number in several for c in merged.groups[number]])
        self.sums = _channels(_belonging([len(merged.groups[number]) for number in several]), places)
        self.place = _channels(torch.eye(len(merged.groups))[:, several], places)
        self.rest = _coarse_head(head, [group[0] for group in merged.groups])
        with torch.no_grad():
            for number in several:
                channels = slice(number * places, (number + 1) * places)
                self.rest.weight[channels] = 0.0
                self.rest.bias[channels] = _SHIFT  # type: ignore[index]
        self.upsample = _depth_to_space(len(merged.groups), stride)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the merged logits of a checked input."""
        features = self.network.logits(image)
        shifted = self.members(features).clamp(_SMALLEST, _SHIFT) - _SHIFT
        sums = self.sums(shifted.sigmoid() if self.sigmoid else shifted.exp())
        result: Tensor = self.upsample(self.place(sums.clamp(_LEAST_SUM, _MOST_SUM).log()) + self.rest(features))
        return result


def can_be_lean(module: nn.Module) -> bool:
    """Return whether ``LeanMerge`` takes the module."""
    return (
        isinstance(module, MergeClasses)
        and isinstance(module.network, S2dUnet)
        and module.network.description.spatial_dims == 3
        and any(len(group) > 1 for group in module.groups)
    )


def deployed(network: nn.Module, sigmoid: bool = True) -> nn.Module:
    """Return the network, batch norm folded, with its classes merged where that is quickest; logits are the same."""
    return LeanMerge(cast(MergeClasses, network), sigmoid) if can_be_lean(network) else network


def _coarse_head(head: nn.ConvTranspose3d, classes: Sequence[int]) -> nn.Conv3d:
    """Return a 1x1x1 convolution to channels (one of ``classes``, place inside a coarse voxel)."""
    places = math.prod(head.kernel_size)
    conv = nn.Conv3d(head.in_channels, places * len(classes), 1)
    with torch.no_grad():
        weight = head.weight[:, list(classes)].reshape(head.in_channels, -1)
        conv.weight.copy_(weight.T.reshape(-1, head.in_channels, 1, 1, 1))
        bias = torch.zeros(len(classes)) if head.bias is None else head.bias[list(classes)]
        conv.bias.copy_(bias.repeat_interleave(places))  # type: ignore[union-attr]
    return conv.requires_grad_(False)


def _belonging(sizes: Sequence[int]) -> Tensor:
    """Return ones (groups, members) where a member belongs to a group; groups of ``sizes`` follow each other."""
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return (torch.arange(len(sizes))[:, None] == group).float()


def _channels(matrix: Tensor, places: int) -> nn.Conv3d:
    """Return a 1x1x1 convolution from channels (column of ``matrix``, place) to (row, the same place)."""
    rows, columns = matrix.shape
    conv = nn.Conv3d(columns * places, rows * places, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.kron(matrix, torch.eye(places)).reshape(rows * places, -1, 1, 1, 1))
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
