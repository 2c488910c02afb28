"""Merging of classes before the head's upsampling: the same labels at a fraction of the time.

A head that is a transposed convolution with kernel = stride computes, per coarse voxel, stride^3 logits of every
trained class. Merging needs no neighbours, so it can be done there, on channels, and only the few merged classes go
to the full grid. Measured with 13 trained and 4 merged classes on a CPU (OpenVINO, 96^3): 0.34 s after the head,
0.14 s before it with the maximum, as fast as a network trained with 4 classes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import SegmentationNetwork
from hlfd.networks.merge import MergeClasses
from hlfd.networks.s2d_unet import S2dUnet

REDUCTIONS = ("max", "logsumexp")


class LeanMerge(SegmentationNetwork):
    """A 3-D ``MergeClasses`` of an ``S2dUnet`` with batch norm folded, rebuilt for export.

    ``max`` takes the largest logit of each group (labels then are those of the trained classes, merged afterwards),
    ``logsumexp`` adds probabilities as ``MergeClasses`` does. Weights are copied. Raises ``ConfigError`` for others.
    """

    def __init__(self, merged: MergeClasses, reduction: str = "max") -> None:
        network = merged.network
        if not isinstance(network, S2dUnet) or network.description.spatial_dims != 3 or reduction not in REDUCTIONS:
            raise ConfigError(f"LeanMerge takes a 3-D s2d_unet and one of {REDUCTIONS}, not {reduction}.")
        super().__init__(merged.description)
        self.reduction = reduction
        head: Any = network.head
        stride = int(head.stride[0])
        self.network = copy.deepcopy(network)
        self.network.head = nn.Identity()
        self.members: Any = nn.ModuleList(
            nn.ModuleList(_coarse_head(head, c) for c in group) for group in merged.groups
        )
        self.upsample = _depth_to_space(len(merged.groups), stride)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the merged logits of a checked input."""
        features = self.network.logits(image)
        merged = [self._reduced([member(features) for member in group]) for group in self.members]
        result: Tensor = self.upsample(torch.cat(merged, 1))
        return result

    def _reduced(self, logits: Sequence[Tensor]) -> Tensor:
        top = logits[0]
        for other in logits[1:]:
            top = torch.maximum(top, other)
        if self.reduction == "max" or len(logits) == 1:
            return top
        total = (logits[0] - top).exp()
        for other in logits[1:]:
            total = total + (other - top).exp()
        return top + total.log()


def _coarse_head(head: nn.ConvTranspose3d, channel: int) -> nn.Conv3d:
    """Return a 1x1x1 convolution to one class's logits at all places inside a coarse voxel, as channels."""
    places = math.prod(head.kernel_size)
    conv = nn.Conv3d(head.in_channels, places, 1)
    with torch.no_grad():
        weight = head.weight[:, channel].reshape(head.in_channels, places)
        conv.weight.copy_(weight.T.reshape(places, head.in_channels, 1, 1, 1))
        conv.bias.copy_(torch.zeros(places) if head.bias is None else head.bias[channel].repeat(places))  # type: ignore[union-attr]
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
