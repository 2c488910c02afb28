"""ESPNet, a student of EMKD with 0.18 million parameters.

Source: Mehta et al., "ESPNet: efficient spatial pyramid of dilated convolutions for semantic segmentation", ECCV 2018;
depths (2, 3) as in the code of Qin et al., IEEE TMI 2021, arXiv 2108.09987, which shows a grey image as three channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import Step, average_pool, conv, initialise, norm, transposed, widest

WIDTHS = (16, 64, 128)
DEPTHS = (2, 3)
_DILATIONS = (1, 2, 4, 8, 16)


def _activated(dims: int, channels: int) -> nn.Sequential:
    return nn.Sequential(norm(dims, channels), nn.PReLU(channels))


class SpatialPyramid(nn.Module):
    """The ESP module: narrow to a fifth, five dilated convolutions, their sums from fine to coarse, concatenated.

    With ``stride`` 2 the narrowing halves the size; ``added`` adds the input.
    """

    def __init__(self, dims: int, channels_in: int, channels: int, stride: int = 1, added: bool = False) -> None:
        super().__init__()
        narrow = channels // 5
        first = channels - 4 * narrow
        self.added = added
        self.reduce = conv(dims, channels_in, narrow, kernel=3 if stride > 1 else 1, stride=stride)
        self.branches = nn.ModuleList(
            conv(dims, narrow, narrow if number else first, dilation=dilation)
            for number, dilation in enumerate(_DILATIONS)
        )
        self.activation = _activated(dims, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, *spatial) at the size of ``x`` divided by the stride."""
        reduced = self.reduce(x)
        parts = [self.branches[0](reduced)]
        total: Tensor | None = None
        for branch in list(self.branches)[1:]:
            total = branch(reduced) if total is None else total + branch(reduced)
            parts.append(total)
        joined = torch.cat(parts, 1)
        activated: Tensor = self.activation(joined + x if self.added else joined)
        return activated


class EspNet(SegmentationNetwork):
    """Three levels of spatial pyramids that see the pooled image again, and a decoder of as many channels as classes.

    ``widths`` are the channels at stride 2, 4 and 8, ``depths`` the pyramids at stride 4 and 8. e1..e3 are the joined
    features at stride 2, 4 and 8 (e4, e5 are e3), d5..d3 the decoder at stride 4 after its pyramid, d2 at stride 2.
    Most norms follow concatenations and cannot be folded.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        spatial_dims: int = 2,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        if len(widths) != 3 or min(widths) < 5 or len(depths) != 2 or min(depths) < 1:
            raise ConfigError(f"Three widths from 5 and two depths from 1 were expected, not {widths} and {depths}.")
        taps = {"e1": "join1", "e2": "join2", "e3": "join3", "e4": "join3", "e5": "join3"}
        taps |= {"d5": "combine", "d4": "combine", "d3": "combine", "d2": "fuse", "out": "head"}
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=8,
                receptive_field=widest(_path(depths), 8),
                taps=taps,
            )
        )
        dims = spatial_dims
        low, middle, high = widths
        self.stem = nn.Sequential(conv(dims, in_channels, low, stride=2), norm(dims, low), nn.PReLU(low))
        self.shrink = average_pool(dims)
        self.join1 = _activated(dims, low + in_channels)
        self.down2 = SpatialPyramid(dims, low + in_channels, middle, stride=2)
        self.level2 = nn.Sequential(*(SpatialPyramid(dims, middle, middle, added=True) for _ in range(depths[0])))
        self.join2 = _activated(dims, 2 * middle + in_channels)
        self.down3 = SpatialPyramid(dims, 2 * middle + in_channels, high, stride=2)
        self.level3 = nn.Sequential(*(SpatialPyramid(dims, high, high, added=True) for _ in range(depths[1])))
        self.join3 = _activated(dims, 2 * high)
        self.deep = nn.Sequential(
            conv(dims, 2 * high, classes, kernel=1), norm(dims, classes), transposed(dims, classes, classes)
        )
        self.side = conv(dims, 2 * middle + in_channels, classes, kernel=1)
        self.combine = nn.Sequential(_activated(dims, 2 * classes), SpatialPyramid(dims, 2 * classes, 5))
        self.up = nn.Sequential(transposed(dims, 5, classes), norm(dims, classes), nn.PReLU(classes))
        self.fuse = nn.Sequential(
            conv(dims, low + in_channels + classes, classes), norm(dims, classes), nn.PReLU(classes)
        )
        self.head = transposed(dims, classes, classes)
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        half = self.shrink(image)
        first = self.join1(torch.cat([self.stem(image), half], 1))
        x = self.down2(first)
        second = self.join2(torch.cat([self.level2(x), x, self.shrink(half)], 1))
        x = self.down3(second)
        x = self.deep(self.join3(torch.cat([x, self.level3(x)], 1)))
        x = self.up(self.combine(torch.cat([self.side(second), x], 1)))
        logits: Tensor = self.head(self.fuse(torch.cat([x, first], 1)))
        return logits


def _path(depths: Sequence[int]) -> list[Step]:
    """Return the layers of the widest path."""
    widest_branch = Step(3, 1, _DILATIONS[-1])
    down = [Step(3, 2), widest_branch]
    up = Step(2, 2, transposed=True)
    return [
        *(Step(3, 2), *down, *[widest_branch] * depths[0], *down, *[widest_branch] * depths[1]),
        *(up, widest_branch, up, Step(3), up),
    ]
