"""ERFNet, a student of EMKD made of one-dimensional convolutions.

Source: Romera et al., "ERFNet: efficient residual factorized ConvNet for real-time semantic segmentation", IEEE T-ITS
2018; as used by Qin et al., IEEE TMI 2021, arXiv 2108.09987.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import Step, conv, initialise, max_pool, norm, transposed, widest
from hlfd.networks.blocks import dropout as channel_dropout

WIDTHS = (16, 64, 128)
_DILATIONS = (2, 4, 8, 16) * 2


class Downsampler(nn.Module):
    """A strided convolution beside a max pooling, concatenated to ``channels``, normed apart and activated."""

    def __init__(self, dims: int, channels_in: int, channels: int) -> None:
        super().__init__()
        new = channels - channels_in
        self.conv = nn.Sequential(conv(dims, channels_in, new, stride=2), norm(dims, new))
        self.pool = nn.Sequential(max_pool(dims), norm(dims, channels_in))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features at half the size."""
        features: Tensor = self.activation(torch.cat([self.conv(x), self.pool(x)], 1))
        return features


def _lines(dims: int, channels: int, dilation: int) -> list[nn.Module]:
    """Return a convolution along each axis in turn, with activations between them."""
    layers: list[nn.Module] = []
    for axis in range(dims):
        kernel = [3 if d == axis else 1 for d in range(dims)]
        layers += [conv(dims, channels, channels, kernel, dilation=dilation, bias=True), nn.ReLU(inplace=True)]
    return layers[:-1]


class FactorizedBlock(nn.Module):
    """Twice a round of convolutions along one axis each, the second round dilated; added to the input."""

    def __init__(self, dims: int, channels: int, dilation: int = 1, share: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_lines(dims, channels, 1),
            norm(dims, channels),
            nn.ReLU(inplace=True),
            *_lines(dims, channels, dilation),
            norm(dims, channels),
            channel_dropout(dims, share),
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum, of the shape of ``x``."""
        total: Tensor = self.activation(self.body(x) + x)
        return total


class ErfNet(SegmentationNetwork):
    """Encoder to stride 8 with rounds of dilated factorised blocks, transposed convolutions up.

    ``widths`` are the channels at stride 2, 4 and 8. e1..e3 are the ends of the strides 2, 4 and 8 (e4, e5 are e3),
    d5..d3 the decoder at stride 4, d2 that at stride 2. Norms behind the pooled halves cannot be folded.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        spatial_dims: int = 2,
        dropout: float = 0.3,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        if len(widths) != 3 or not in_channels < widths[0] < widths[1] < widths[2]:
            raise ConfigError(f"widths is {list(widths)}; three rising counts above {in_channels} were expected.")
        taps = {"e1": "initial", "e2": "stage1", "e3": "stage2", "e4": "stage2", "e5": "stage2"}
        taps |= {"d5": "up1", "d4": "up1", "d3": "up1", "d2": "up2", "out": "head"}
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
        self.initial = Downsampler(dims, in_channels, low)
        self.stage1 = nn.Sequential(
            Downsampler(dims, low, middle), *(FactorizedBlock(dims, middle, 1, 0.1 * dropout) for _ in range(5))
        )
        self.stage2 = nn.Sequential(
            Downsampler(dims, middle, high), *(FactorizedBlock(dims, high, d, dropout) for d in _DILATIONS)
        )
        self.up1 = _upsampler(dims, high, middle)
        self.up2 = _upsampler(dims, middle, low)
        self.head = transposed(dims, low, classes, bias=True)
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        x = self.stage2(self.stage1(self.initial(image)))
        logits: Tensor = self.head(self.up2(self.up1(x)))
        return logits


def _upsampler(dims: int, channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        transposed(dims, channels_in, channels, kernel=3, padding=1),
        norm(dims, channels),
        nn.ReLU(inplace=True),
        FactorizedBlock(dims, channels),
        FactorizedBlock(dims, channels),
    )


def _path() -> list[Step]:
    """Return the layers of the widest path."""
    dilated = [step for d in _DILATIONS for step in (Step(3), Step(3, 1, d))]
    up = [Step(3, 2, transposed=True), *[Step(3)] * 4]
    return [Step(3, 2), Step(3, 2), *[Step(3)] * 10, Step(3, 2), *dilated, *up, *up, Step(2, 2, transposed=True)]
