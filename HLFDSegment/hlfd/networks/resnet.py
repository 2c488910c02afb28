"""Residual stages: the encoders of the ResNet-18 student, RA-UNet and PSPNet.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016; the dilated stages of PSPNet as in
Zhao et al., "Pyramid scene parsing network", CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import check_widths
from hlfd.networks.blocks import Step, conv, norm, thinned, unit

EXPANSION = 4
"""Outer width of a bottleneck block by its inner width."""
_STRIDES = (1, 2, 2, 2)
"""Strides of the four stages of an encoder that ends at stride 32."""


class ResidualBlock(nn.Module):
    """relu(body(x) + shortcut(x)): two 3^d convolutions, or as a bottleneck 1-3-1 with four times the outer width."""

    def __init__(
        self, dims: int, channels_in: int, width: int, stride: int = 1, dilation: int = 1, bottleneck: bool = False
    ) -> None:
        super().__init__()
        channels = width * EXPANSION if bottleneck else width
        if bottleneck:
            layers = [
                *unit(dims, channels_in, width, kernel=1),
                *unit(dims, width, width, stride=stride, dilation=dilation),
                conv(dims, width, channels, kernel=1),
            ]
        else:
            layers = [
                *unit(dims, channels_in, width, stride=stride, dilation=dilation),
                conv(dims, width, width, dilation=dilation),
            ]
        self.body = nn.Sequential(*layers, norm(dims, channels))
        self.shortcut: nn.Module = nn.Sequential()  # gives back its input
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(conv(dims, channels_in, channels, kernel=1), norm(dims, channels))
        self.stride = stride
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum, at the size of ``x`` divided by the stride."""
        total: Tensor = self.activation(self.body(x) + self.shortcut(thinned(x, self.stride)))
        return total


def residual_stage(
    dims: int,
    channels_in: int,
    width: int,
    blocks: int,
    stride: int = 1,
    dilation: int = 1,
    bottleneck: bool = False,
) -> nn.Sequential:
    """Return ``blocks`` residual blocks, the first with ``stride`` and half the dilation."""
    outer = width * EXPANSION if bottleneck else width
    first = ResidualBlock(dims, channels_in, width, stride, max(dilation // 2, 1), bottleneck)
    return nn.Sequential(
        first, *(ResidualBlock(dims, outer, width, 1, dilation, bottleneck) for _ in range(blocks - 1))
    )


def stage_steps(blocks: int, stride: int = 1, dilation: int = 1, bottleneck: bool = False) -> list[Step]:
    """Return the layers on the widest path through ``residual_stage``."""
    head = max(dilation // 2, 1)
    first = [Step(3, stride, head)] if bottleneck else [Step(3, stride, head), Step(3, 1, head)]
    return first + [Step(3, 1, dilation)] * ((blocks - 1) * (1 if bottleneck else 2))


def check_stages(widths: Sequence[int], blocks: Sequence[int]) -> None:
    """Raise ``ConfigError`` unless there are widths of stem and four stages, and blocks of four stages."""
    check_widths(widths, 5)
    if len(widths) != 5 or len(blocks) != 4 or min(blocks) < 1:
        raise ConfigError("widths must have five elements (stem and four stages) and blocks four from 1.")


def residual_stages(dims: int, widths: Sequence[int], blocks: Sequence[int]) -> nn.ModuleList:
    """Return the four stages (strides 4, 8, 16 and 32 of the image) behind a stem of stride 4 and ``widths[0]``."""
    sizes = zip(widths, widths[1:], blocks, _STRIDES)
    return nn.ModuleList(residual_stage(dims, *size) for size in sizes)


def encoder_steps(blocks: Sequence[int]) -> list[Step]:
    """Return the layers on the widest path through a stem of 7^d, its pooling of 3^d and ``residual_stages``."""
    stages = [step for count, stride in zip(blocks, _STRIDES) for step in stage_steps(count, stride)]
    return [Step(7, 2), Step(3, 2), *stages]
