"""ENet, a student of EMKD with 0.35 million parameters.

Source: Paszke et al., "ENet: a deep neural network architecture for real-time semantic segmentation", arXiv 1606.02147;
block widths and the learned activations of the decoder as in the code of Qin et al., IEEE TMI 2021, arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import (
    Step,
    as_colour,
    conv,
    dropout,
    image_channels,
    initialise,
    max_pool,
    norm,
    transposed,
    unit,
    widest,
)

WIDTHS = (16, 64, 128)
_CONTEXT: tuple[tuple[str, int], ...] = (
    ("plain", 1), ("plain", 2), ("asymmetric", 1), ("plain", 4), ("plain", 1), ("plain", 8), ("asymmetric", 1),
    ("plain", 16),
)  # fmt: skip
"""Kind and dilation of the eight blocks of a round of context at stride 8."""


def maximum_places(x: Tensor) -> Tensor:
    """Return where a 2^d max pooling of (B, C, *spatial) finds its maxima.

    The result is (B, C, *(size / 2), 2^d): 1 once per pooled voxel, at the first maximum, else 0. Unlike the indices of
    torch's pooling it is made of operations that every exporter knows.
    """
    candidates = _blocks(x.detach())
    best = (candidates == candidates.amax(-1, keepdim=True)).to(x.dtype)
    return best * (best.cumsum(-1) <= 1).to(x.dtype)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """Put each voxel of (B, C, *spatial) at its place in the image of twice the size; zeros elsewhere."""
    dims = x.ndim - 2
    spread = (x[..., None] * places).reshape(*x.shape, *[2] * dims)
    order = [0, 1] + [axis for d in range(dims) for axis in (2 + d, 2 + dims + d)]
    return spread.permute(order).reshape(*x.shape[:2], *[2 * size for size in x.shape[2:]])


def _blocks(x: Tensor) -> Tensor:
    """Return (B, C, *spatial) as (B, C, *(size / 2), 2^d)."""
    dims = x.ndim - 2
    halves = [n for size in x.shape[2:] for n in (size // 2, 2)]
    split = x.reshape(*x.shape[:2], *halves)
    order = [0, 1, *(2 + 2 * d for d in range(dims)), *(3 + 2 * d for d in range(dims))]
    return split.permute(order).flatten(2 + dims)


class Initial(nn.Module):
    """A strided convolution beside a max pooling of the image, concatenated to ``width`` channels, normed apart."""

    def __init__(self, dims: int, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            conv(dims, in_channels, width - in_channels, stride=2), norm(dims, width - in_channels)
        )
        self.pool = nn.Sequential(max_pool(dims), norm(dims, in_channels))
        self.activation = nn.PReLU()

    def forward(self, image: Tensor) -> Tensor:
        """Return the features at stride 2."""
        features: Tensor = self.activation(torch.cat([self.conv(image), self.pool(image)], 1))
        return features


def _projection(dims: int, channels_in: int, channels: int, share: float) -> list[nn.Module]:
    return [conv(dims, channels_in, channels, kernel=1), norm(dims, channels), dropout(dims, share)]


def _middle(dims: int, width: int, kind: str, dilation: int) -> list[nn.Module]:
    if kind == "down":
        return list(unit(dims, width, width, nn.PReLU, kernel=2, stride=2))
    if kind == "up":
        return [transposed(dims, width, width), norm(dims, width), nn.PReLU()]
    if kind == "plain":
        return list(unit(dims, width, width, nn.PReLU, dilation=dilation))
    lines = [conv(dims, width, width, kernel=[5 if d == axis else 1 for d in range(dims)]) for axis in range(dims)]
    return [*lines, norm(dims, width), nn.PReLU()]


class Bottleneck(nn.Module):
    """Narrow, filter by ``kind`` (plain, asymmetric, down, up), widen, and add to the input.

    ``down`` and ``up`` change the size by 2: the identity path is pooled or unpooled and changes its channels.
    """

    def __init__(
        self,
        dims: int,
        channels_in: int,
        width: int,
        channels: int,
        kind: str = "plain",
        dilation: int = 1,
        share: float = 0.1,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.body = nn.Sequential(
            *unit(dims, channels_in, width, nn.PReLU, kernel=1),
            *_middle(dims, width, kind, dilation),
            *_projection(dims, width, channels, share),
        )
        self.identity: nn.Module = nn.Sequential()  # gives back its input
        if kind in ("down", "up"):
            change = [conv(dims, channels_in, channels, kernel=1), norm(dims, channels)]
            self.identity = nn.Sequential(*([max_pool(dims)] if kind == "down" else []), *change)
        self.activation = nn.PReLU()

    def forward(self, x: Tensor, places: Tensor | None = None) -> Tensor:
        """Return the block's output; ``places`` are those of the pooling that an ``up`` block undoes."""
        identity = self.identity(x)
        if places is not None:
            identity = unpool(identity, places)
        total: Tensor = self.activation(self.body(x) + identity)
        return total


class ENet(SegmentationNetwork):
    """Encoder to stride 8 with rounds of dilated and asymmetric blocks, and a small decoder that unpools.

    ``widths`` are the channels at stride 2, 4 and 8. e1..e4 are the ends of the stages at stride 2, 4, 8 and 8 (e5 is
    e4), d5..d3 the decoder at stride 4 and d2 that at stride 2. All blocks take part; the code of EMKD leaves out one.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        spatial_dims: int = 2,
        dropout: float = 0.1,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        colours = image_channels(in_channels)
        if len(widths) != 3 or widths[0] <= colours or min(widths) < 4:
            raise ConfigError(
                f"widths is {list(widths)}; three channel counts from 4, the first above {colours}, were expected."
            )
        taps = {"e1": "initial", "e2": "stage1", "e3": "stage2", "e4": "stage3", "e5": "stage3"}
        taps |= {"d5": "stage4", "d4": "stage4", "d3": "stage4", "d2": "stage5", "out": "head"}
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=8,
                receptive_field=widest(_path(), 8),
                taps=taps,
            )
        )
        low, middle, high = widths
        dims = spatial_dims
        context = [(high, high // 4, high, kind, dilation, dropout) for kind, dilation in _CONTEXT]
        self.initial = Initial(dims, colours, low)
        self.down1 = Bottleneck(dims, low, middle // 4, middle, "down", share=dropout)
        self.stage1 = nn.Sequential(*(Bottleneck(dims, middle, middle // 4, middle, share=dropout) for _ in range(4)))
        self.down2 = Bottleneck(dims, middle, high // 4, high, "down", share=dropout)
        self.stage2 = nn.Sequential(*(Bottleneck(dims, *block) for block in context))
        self.stage3 = nn.Sequential(*(Bottleneck(dims, *block) for block in context))
        self.up4 = Bottleneck(dims, high, middle // 4, middle, "up", share=dropout)
        self.stage4 = nn.Sequential(*(Bottleneck(dims, middle, middle // 4, middle, share=dropout) for _ in range(2)))
        self.up5 = Bottleneck(dims, middle, low // 4, low, "up", share=dropout)
        self.stage5 = Bottleneck(dims, low, low // 4, low, share=dropout)
        self.head = transposed(dims, low, classes)
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        x = self.initial(as_colour(image))
        first = maximum_places(x)
        x = self.stage1(self.down1(x))
        second = maximum_places(x)
        x = self.stage3(self.stage2(self.down2(x)))
        x = self.stage4(self.up4(x, second))
        x = self.stage5(self.up5(x, first))
        logits: Tensor = self.head(x)
        return logits


def _path() -> list[Step]:
    """Return the layers of the widest path."""
    context = [Step(5) if kind == "asymmetric" else Step(3, 1, dilation) for kind, dilation in _CONTEXT]
    up = Step(2, 2, transposed=True)
    return [
        *(Step(3, 2), Step(2, 2), *[Step(3)] * 4, Step(2, 2), *context, *context),
        *(up, *[Step(3)] * 2, up, Step(3), up),
    ]
