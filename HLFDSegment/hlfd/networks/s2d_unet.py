"""The student: a space-to-depth U-Net of dense convolutions that CPUs run near their peak rate.

A strided stem takes the image to a coarser grid with enough channels at once, so that no layer with few channels
runs at full resolution; batch norm folds away; skips are added, not concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError
from hlfd.networks.base import (
    NetworkDescription,
    SegmentationNetwork,
    check_common,
    check_widths,
    name_taps,
    receptive_field,
)


def _layers(spatial_dims: int) -> tuple[type[nn.Module], type[nn.Module], type[nn.Module]]:
    if spatial_dims == 3:
        return nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d
    return nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d


def _unit(spatial_dims: int, channels_in: int, channels: int, kernel: int, stride: int) -> nn.Sequential:
    conv, _, norm = _layers(spatial_dims)
    padding = (kernel - stride + 1) // 2
    return nn.Sequential(
        conv(channels_in, channels, kernel, stride=stride, padding=padding, bias=False),
        norm(channels),
        nn.ReLU(inplace=True),
    )


def _stage(spatial_dims: int, channels: int, convolutions: int) -> nn.Sequential:
    return nn.Sequential(*(_unit(spatial_dims, channels, channels, 3, 1) for _ in range(convolutions)))


class S2dUnet(SegmentationNetwork):
    """Space-to-depth U-Net.

    Stem: convolution with kernel = stride = ``stem_stride`` to ``widths[0]`` channels. Encoder: stages of
    ``encoder_convs`` 3^d convolutions with batch norm and ReLU, joined by strided convolutions (kernel = stride = 2).
    Decoder: transposed convolutions (kernel = stride = 2), added skip, ``decoder_convs`` convolutions. Head: transposed
    convolution with kernel = stride = ``stem_stride``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 4,
        widths: Sequence[int] = (16, 32, 64, 96),
        stem_stride: int = 2,
        spatial_dims: int = 3,
        encoder_convs: int = 2,
        decoder_convs: int = 1,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_widths(widths, 2)
        if min(stem_stride, encoder_convs, decoder_convs) < 1:
            raise ConfigError("stem_stride, encoder_convs and decoder_convs must be at least 1.")
        last = len(widths) - 1
        encoder_taps = ["stem", *(f"encoder.{level}" for level in range(len(widths)))]
        # The stem leaves out the full resolution, so the shallowest decoder stage stands for the last two taps.
        decoder_taps = [*(f"decoder.{step}" for step in range(last)), f"decoder.{last - 1}"]
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=stem_stride * 2**last,
                receptive_field=receptive_field([encoder_convs] * len(widths), [decoder_convs] * last, stem_stride),
                taps=name_taps(encoder_taps, decoder_taps, "head"),
            )
        )
        dims = spatial_dims
        _, transposed, _ = _layers(dims)
        deep_to_shallow = [(widths[level + 1], widths[level]) for level in reversed(range(last))]
        self.stem = _unit(dims, in_channels, widths[0], stem_stride, stem_stride)
        self.encoder = nn.ModuleList(_stage(dims, width, encoder_convs) for width in widths)
        self.down = nn.ModuleList(_unit(dims, shallow, deep, 2, 2) for shallow, deep in zip(widths, widths[1:]))
        self.up = nn.ModuleList(transposed(deep, shallow, 2, stride=2) for deep, shallow in deep_to_shallow)
        self.decoder = nn.ModuleList(_stage(dims, shallow, decoder_convs) for _, shallow in deep_to_shallow)
        self.head = transposed(widths[0], classes, stem_stride, stride=stem_stride)
        self.apply(_initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        x = self.stem(image)
        skips: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(x)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for up, stage in zip(self.up, self.decoder):
            x = stage(up(x) + skips.pop())
        logits: Tensor = self.head(x)
        return logits


def _initialise(module: nn.Module) -> None:
    """He initialisation for the ReLU layers (He et al., ICCV 2015)."""
    if isinstance(module, nn.modules.conv._ConvNd):
        with torch.no_grad():
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build_s2d_unet_wide(
    in_channels: int = 1, classes: int = 4, widths: Sequence[int] = (24, 48, 96, 160), **parameters: int
) -> S2dUnet:
    """Build the space-to-depth U-Net with more channels; further parameters as in ``S2dUnet``."""
    return S2dUnet(in_channels, classes, widths, **parameters)
