"""MobileNetV2 without a decoder, a student of EMKD.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018; strides (8 in all) and head
as in the code of Qin et al., IEEE TMI 2021, arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import Step, as_colour, conv, image_channels, initialise, norm, unit, upsample, widest

_RELU6 = partial(nn.ReLU6, inplace=True)
Setting = Sequence[int]
SETTINGS: tuple[tuple[int, int, int, int], ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 1),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Per stage: expansion, channels, blocks, stride of the first block."""


class InvertedResidual(nn.Module):
    """Widen by a 1^d convolution, filter each channel alone, narrow again without activation; added where sizes fit."""

    def __init__(self, dims: int, channels_in: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        widen = unit(dims, channels_in, hidden, _RELU6, kernel=1) if expansion != 1 else ()
        self.added = stride == 1 and channels_in == channels
        self.body = nn.Sequential(
            *widen,
            *unit(dims, hidden, hidden, _RELU6, stride=stride, groups=hidden),
            conv(dims, hidden, channels, kernel=1),
            norm(dims, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, at the size of ``x`` divided by the stride."""
        y: Tensor = self.body(x)
        return x + y if self.added else y


class MobileNetV2(SegmentationNetwork):
    """Stem, stages of inverted residuals, a 1^d convolution to ``last`` channels, logits at stride 8, upsampled.

    Its taps e1..e5 are the stem (stride 2), the ends of the strides 2, 4 and 8, and the last features (stride 8), which
    also stand for d5; d4..d2 are the ends of the strides 8, 4 and 2 again, as there is no decoder.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        settings: Sequence[Setting] = SETTINGS,
        stem: int = 32,
        last: int = 1280,
        spatial_dims: int = 2,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        strides = [int(stage[3]) for stage in settings if len(stage) == 4]
        if len(strides) != len(settings) or strides.count(2) != 2 or set(strides) - {1, 2} or strides[0] != 1:
            raise ConfigError(
                f"settings is {settings}; stages (expansion, channels, blocks, stride) were expected, the first of "
                "stride 1, exactly two of stride 2, and all others of stride 1."
            )
        # the first stage of a stride and all up to the next one work at one size
        second, third = (n for n, stride in enumerate(strides) if stride == 2)
        ends = [f"stages.{n}" for n in (second - 1, third - 1, len(strides) - 1)]
        taps = dict(zip(("e1", "e2", "e3", "e4", "e5"), ("stem", *ends, "final")))
        taps |= {"d5": "final", "d4": ends[2], "d3": ends[1], "d2": ends[0], "out": "head"}
        path = [Step(3, 2)]
        for _, _, blocks, stride in settings:
            path += [Step(3, stride), *[Step(3)] * (blocks - 1)]
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=8,
                receptive_field=widest([*path, Step(up=8)], 8),
                taps=taps,
            )
        )
        self.stem = unit(spatial_dims, image_channels(in_channels), stem, _RELU6, stride=2)
        self.stages = nn.ModuleList()
        channels = stem
        for expansion, width, blocks, stride in settings:
            steps = [(channels, stride), *[(width, 1)] * (blocks - 1)]
            self.stages.append(
                nn.Sequential(*(InvertedResidual(spatial_dims, before, width, s, expansion) for before, s in steps))
            )
            channels = width
        self.final = unit(spatial_dims, channels, last, _RELU6, kernel=1)
        self.head = nn.Sequential(conv(spatial_dims, last, classes, kernel=1, bias=True), upsample(spatial_dims, 8))
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        x = self.stem(as_colour(image))
        for stage in self.stages:
            x = stage(x)
        logits: Tensor = self.head(self.final(x))
        return logits
