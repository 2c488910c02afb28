"""RA-UNet, the teacher of EMKD: a ResNet-34 encoder, a LinkNet decoder, and attention where the skips join.

Source: Ni et al., "RAUNet: residual attention U-Net for semantic segmentation of cataract surgical instruments",
ICONIP 2019; as used by Qin et al., IEEE TMI 2021, arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import (
    Step,
    as_colour,
    check_pooled,
    conv,
    image_channels,
    initialise,
    max_pool,
    norm,
    transposed,
    unit,
    widest,
)
from hlfd.networks.resnet import check_stages, encoder_steps, residual_stages

WIDTHS = (64, 64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
DIVISOR = 32


class AttentionSkip(nn.Module):
    """Augmented attention: deep + softmax_c(W(pooled deep, pooled skip)) * project(skip), the weights per channel."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.deep = unit(dims, channels, channels, kernel=1)
        self.skip = unit(dims, channels, channels, kernel=1)
        self.weights = conv(dims, channels, channels, kernel=1, bias=True)
        self.project = unit(dims, channels, channels, kernel=1)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return the joined features, of the shape of both inputs."""
        axes = tuple(range(2, deep.ndim))
        pooled = self.deep(deep.mean(axes, keepdim=True)) + self.skip(skip.mean(axes, keepdim=True))
        weight = torch.softmax(self.weights(pooled), 1)
        joined: Tensor = deep + self.project(skip) * weight
        return joined


class PlainSkip(nn.Module):
    """The same join without attention: deep + project(skip), as LinkNet adds its skips."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.project = unit(dims, channels, channels, kernel=1)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Return the joined features, of the shape of both inputs."""
        joined: Tensor = deep + self.project(skip)
        return joined


def _up_block(dims: int, channels_in: int, channels: int) -> nn.Sequential:
    """Return LinkNet's decoder block: narrow to a quarter, enlarge by 2, widen."""
    narrow = max(channels_in // 4, 1)
    return nn.Sequential(
        *unit(dims, channels_in, narrow, kernel=1),
        transposed(dims, narrow, narrow, kernel=4, padding=1),
        norm(dims, narrow),
        nn.ReLU(inplace=True),
        *unit(dims, narrow, channels, kernel=1),
    )


class RaUNet(SegmentationNetwork):
    """ResNet encoder (``widths`` of stem and four stages, ``blocks`` per stage), decoder to stride 2, deconvolved head.

    e1..e5 are the stem (stride 2) and the stages, d5..d3 what the skips at stride 16, 8 and 4 give, d2 the decoder at
    stride 2. The attention looks at the whole image; the receptive field is that of the convolutions. Training needs at
    least two images per batch.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        spatial_dims: int = 2,
        attention: bool = True,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_stages(widths, blocks)
        taps = {"e1": "stem", **{f"e{n + 2}": f"stages.{n}" for n in range(4)}}
        taps |= {f"d{5 - n}": f"skips.{n}" for n in range(3)} | {"d2": "decoder.3", "out": "head"}
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=DIVISOR,
                receptive_field=widest(_path(blocks), DIVISOR),
                taps=taps,
            )
        )
        dims = spatial_dims
        self.stem = unit(dims, image_channels(in_channels), widths[0], kernel=7, stride=2)
        self.pool = max_pool(dims, 3)
        self.stages = residual_stages(dims, widths, blocks)
        downwards = widths[:0:-1]
        self.decoder = nn.ModuleList(
            _up_block(dims, deep, shallow) for deep, shallow in zip(downwards, (*downwards[1:], widths[0]))
        )
        skip = AttentionSkip if attention else PlainSkip
        self.skips = nn.ModuleList(skip(dims, width) for width in downwards[1:])
        half = max(widths[0] // 2, 1)
        self.head = nn.Sequential(
            transposed(dims, widths[0], half, kernel=3, padding=1, bias=True),
            nn.ReLU(inplace=True),
            conv(dims, half, half, bias=True),
            nn.ReLU(inplace=True),
            conv(dims, half, classes, kernel=1, bias=True),
        )
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        for skip in self.skips:
            if isinstance(skip, AttentionSkip):
                check_pooled("RA-UNet", skip.deep, image)
        x = self.pool(self.stem(as_colour(image)))
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features.pop()
        for up, skip in zip(self.decoder, self.skips):
            x = skip(up(x), features.pop())
        logits: Tensor = self.head(self.decoder[-1](x))
        return logits


def _path(blocks: Sequence[int]) -> list[Step]:
    """Return the layers of the widest path."""
    up = Step(4, 2, transposed=True)
    return [*encoder_steps(blocks), *[up] * 4, Step(3, 2, transposed=True), Step(3)]
