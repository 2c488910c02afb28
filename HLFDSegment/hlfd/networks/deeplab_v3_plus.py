"""DeepLabV3+, a teacher of EMKD: an aligned Xception, atrous spatial pyramid pooling, and a one-step decoder.

Source: Chen et al., "Encoder-decoder with atrous separable convolution for semantic image segmentation", ECCV 2018;
Xception-65 at stride 8, as used by Qin et al., IEEE TMI 2021, arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common, check_widths
from hlfd.networks.blocks import Step, check_pooled, conv, initialise, norm, resize_to, thinned, unit, upsample, widest

WIDTHS = (32, 64, 128, 256, 728, 1024, 1536, 2048)
"""Channels: two of the stem, two entry blocks, the middle flow, and three of the exit."""
RATES = (12, 24, 36)


def separable(dims: int, channels_in: int, channels: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """Return a convolution of each channel alone and one across channels, each with batch norm."""
    return [
        conv(dims, channels_in, channels_in, stride=stride, dilation=dilation, groups=channels_in),
        norm(dims, channels_in),
        conv(dims, channels_in, channels, kernel=1),
        norm(dims, channels),
    ]


class XceptionBlock(nn.Module):
    """Three separable convolutions of ``widths``, the last with the stride; added to a projected or equal shortcut."""

    def __init__(
        self,
        dims: int,
        channels_in: int,
        widths: Sequence[int],
        stride: int = 1,
        dilation: int = 1,
        activate_first: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels_in
        for number, width in enumerate(widths):
            if number or activate_first:
                layers.append(nn.ReLU())  # not in place: the shortcut reads the same tensor
            last = number == len(widths) - 1
            layers += separable(dims, before, width, stride if last else 1, 1 if last and stride > 1 else dilation)
            before = width
        self.body = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Sequential()  # gives back its input
        if stride > 1 or channels_in != before:
            self.shortcut = nn.Sequential(conv(dims, channels_in, before, kernel=1), norm(dims, before))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, not activated."""
        total: Tensor = self.body(x) + self.shortcut(thinned(x, self.stride))
        return total


class AtrousPyramid(nn.Module):
    """A 1^d convolution, dilated 3^d ones of ``rates``, and the mean of the image, fused to ``width`` channels."""

    def __init__(self, dims: int, channels: int, width: int, rates: Sequence[int], pooling: bool, share: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([unit(dims, channels, width, kernel=1)])
        self.branches.extend(unit(dims, channels, width, dilation=rate) for rate in rates)
        self.pooled = unit(dims, channels, width, kernel=1) if pooling else None
        count = len(rates) + 1 + pooling
        self.fuse = nn.Sequential(*unit(dims, count * width, width, kernel=1), nn.Dropout(share))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, *spatial) of (B, C, *spatial)."""
        parts = [branch(x) for branch in self.branches]
        if self.pooled is not None:
            parts.append(resize_to(self.pooled(x.mean(tuple(range(2, x.ndim)), keepdim=True)), x))
        fused: Tensor = self.fuse(torch.cat(parts, 1))
        return fused


class DeepLabV3Plus(SegmentationNetwork):
    """Xception encoder at stride 8, atrous pyramid, decoder at stride 4 that joins shallow features, logits upsampled.

    ``middle`` is the number of middle-flow blocks, ``width`` that of pyramid and decoder, ``shallow`` the channels kept
    of the shallow features. e1 is the stem (stride 2), e2 the first entry block (4), e3 the entry flow's end, e4 the
    middle flow and e5 the exit flow (8); d5 and d4 are the pyramid, d3 and d2 the decoder. ``image_pooling`` looks at
    the whole image; the receptive field is that of the convolutions. Training needs at least two images per batch.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        middle: int = 16,
        width: int = 256,
        shallow: int = 48,
        rates: Sequence[int] = RATES,
        spatial_dims: int = 2,
        image_pooling: bool = True,
        dropout: float = 0.5,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_widths(widths, 8)
        if len(widths) != 8 or middle < 1 or min(width, shallow) < 1 or min(rates, default=1) < 1:
            raise ConfigError("widths must have eight elements; middle, width, shallow and rates must be positive.")
        taps = {"e1": "stem", "e2": "entry.0", "e3": "entry.2", "e4": "middle", "e5": "exit"}
        taps |= {"d5": "pyramid", "d4": "pyramid", "d3": "decoder", "d2": "decoder", "out": "head"}
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=8,
                receptive_field=widest(_path(middle, rates), 8),
                taps=taps,
            )
        )
        dims = spatial_dims
        stem, second, low, entry, core, ex1, ex2, ex3 = widths
        self.stem = nn.Sequential(*unit(dims, in_channels, stem, stride=2), *unit(dims, stem, second))
        self.entry = nn.ModuleList(
            [
                nn.Sequential(XceptionBlock(dims, second, [low] * 3, 2, activate_first=False), nn.ReLU()),
                XceptionBlock(dims, low, [entry] * 3, 2, activate_first=False),
                XceptionBlock(dims, entry, [core] * 3),
            ]
        )
        self.middle = nn.Sequential(*(XceptionBlock(dims, core, [core] * 3, dilation=2) for _ in range(middle)))
        layers: list[nn.Module] = [XceptionBlock(dims, core, [core, ex1, ex1], dilation=2), nn.ReLU()]
        for before, after in ((ex1, ex2), (ex2, ex2), (ex2, ex3)):
            layers += [*separable(dims, before, after, dilation=4), nn.ReLU(inplace=True)]
        self.exit = nn.Sequential(*layers)
        self.pyramid = AtrousPyramid(dims, ex3, width, rates, image_pooling, dropout)
        self.reduce = unit(dims, low, shallow)
        self.up = upsample(dims, 2)
        self.decoder = nn.Sequential(
            *unit(dims, width + shallow, width),
            nn.Dropout(dropout),
            *unit(dims, width, width),
            nn.Dropout(0.2 * dropout),
        )
        self.head = nn.Sequential(conv(dims, width, classes, kernel=1, bias=True), upsample(dims, 4))
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        if self.pyramid.pooled is not None:
            check_pooled("DeepLabV3+", self.pyramid.pooled, image)
        shallow = self.entry[0](self.stem(image))
        x = self.entry[2](self.entry[1](shallow))
        x = self.pyramid(self.exit(self.middle(x)))
        logits: Tensor = self.head(self.decoder(torch.cat([self.up(x), self.reduce(shallow)], 1)))
        return logits


def _path(middle: int, rates: Sequence[int]) -> list[Step]:
    """Return the layers of the widest path."""
    down = [Step(3), Step(3), Step(3, 2)]
    path = [Step(3, 2), Step(3), *down, *down, *[Step(3)] * 3, *[Step(3, 1, 2)] * (3 * middle + 3)]
    return [*path, *[Step(3, 1, 4)] * 3, Step(3, 1, max(rates, default=0)), Step(up=2), Step(3), Step(3), Step(up=4)]
