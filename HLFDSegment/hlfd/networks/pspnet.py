"""PSPNet, a teacher of EMKD: a dilated ResNet-50 and pyramid pooling.

Source: Zhao et al., "Pyramid scene parsing network", CVPR 2017; stride 8, as used by Qin et al., IEEE TMI 2021,
arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common, check_widths
from hlfd.networks.blocks import (
    Step,
    as_colour,
    check_pooled,
    conv,
    dropout,
    image_channels,
    initialise,
    max_pool,
    resize_to,
    unit,
    upsample,
    widest,
)
from hlfd.networks.resnet import EXPANSION, residual_stage, stage_steps

WIDTHS = (64, 64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
BINS = (1, 2, 3, 6)
_STRIDES_DILATIONS = ((1, 1), (2, 1), (1, 2), (1, 4))


def bin_average(x: Tensor, bins: int) -> Tensor:
    """Return the mean of (B, C, *spatial) over ``bins`` equal parts of each axis: (B, C, bins, ...).

    Part b of an axis of n voxels is floor(b n / bins) .. ceil((b + 1) n / bins) - 1, as in torch's adaptive pooling,
    written as a product with a matrix per axis so that exported networks take images of every size.
    """
    if bins == 1:
        return x.mean(tuple(range(2, x.ndim)), keepdim=True)
    for axis in range(2, x.ndim):
        size = x.shape[axis]
        index = torch.arange(size, device=x.device)
        part = torch.arange(bins, device=x.device)[:, None]
        inside = (index >= part * size // bins) & (index < ((part + 1) * size + bins - 1) // bins)
        weights = inside.to(x.dtype)
        weights = weights / weights.sum(1, keepdim=True)
        x = torch.matmul(x.transpose(axis, -1), weights.transpose(0, 1)).transpose(axis, -1)
    return x


class PyramidPooling(nn.Module):
    """Means over 1, 2, 3 and 6 parts of each axis, projected, resized, concatenated to the features, and fused."""

    def __init__(self, dims: int, channels: int, bins: Sequence[int], share: float) -> None:
        super().__init__()
        self.bins = list(bins)
        width = max(channels // 4, 1)
        self.parts = nn.ModuleList(unit(dims, channels, width, kernel=1) for _ in self.bins)
        self.fuse = nn.Sequential(*unit(dims, channels + width * len(self.bins), width), dropout(dims, share))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C / 4, *spatial) of (B, C, *spatial)."""
        pyramid = [x]
        for bins, project in zip(self.bins, self.parts):
            pyramid.append(resize_to(project(bin_average(x, bins)), x))
        fused: Tensor = self.fuse(torch.cat(pyramid, 1))
        return fused


class PspNet(SegmentationNetwork):
    """Stem of three convolutions, four bottleneck stages (strides 4, 8, 8, 8; the last two dilated), pyramid, logits.

    ``widths`` are those of the stem and, by their inner width, of the stages. e1 is the stem's first convolution
    (stride 2), e2..e5 the stages; d5 is the pyramid, d4..d2 are e4..e2 again, as there is no decoder. The pyramid looks
    at the whole image; the receptive field is that of the convolutions. Training needs at least two images per batch.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        bins: Sequence[int] = BINS,
        spatial_dims: int = 2,
        dropout: float = 0.1,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_widths(widths, 5)
        if len(widths) != 5 or len(blocks) != 4 or min(blocks) < 1 or min(bins, default=1) < 1:
            raise ConfigError("widths must have five elements, blocks four from 1, and bins must be positive.")
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=8,
                receptive_field=widest(_path(blocks), 8),
                taps={
                    **{"e1": "stem.0", **{f"e{n + 2}": f"stages.{n}" for n in range(4)}},
                    **{"d5": "pyramid", "d4": "stages.2", "d3": "stages.1", "d2": "stages.0", "out": "head"},
                },
            )
        )
        dims, first = spatial_dims, widths[0]
        self.stem = nn.Sequential(
            unit(dims, image_channels(in_channels), first, stride=2),
            unit(dims, first, first),
            unit(dims, first, 2 * first),
        )
        self.pool = max_pool(dims, 3)
        outer = [2 * first, *(EXPANSION * width for width in widths[1:])]
        self.stages = nn.ModuleList(
            residual_stage(dims, before, width, count, stride, dilation, bottleneck=True)
            for before, width, count, (stride, dilation) in zip(outer, widths[1:], blocks, _STRIDES_DILATIONS)
        )
        self.pyramid = PyramidPooling(dims, outer[-1], bins, dropout)
        self.head = nn.Sequential(conv(dims, max(outer[-1] // 4, 1), classes, kernel=1, bias=True), upsample(dims, 8))
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        for part in self.pyramid.parts:
            check_pooled("PSPNet", part, image)
        x = self.pool(self.stem(as_colour(image)))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(self.pyramid(x))
        return logits


def _path(blocks: Sequence[int]) -> list[Step]:
    """Return the layers of the widest path."""
    path = [Step(3, 2), Step(3), Step(3), Step(3, 2)]
    for count, (stride, dilation) in zip(blocks, _STRIDES_DILATIONS):
        path += stage_steps(count, stride, dilation, bottleneck=True)
    return [*path, Step(3), Step(up=8)]
