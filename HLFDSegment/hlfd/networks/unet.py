"""The plain U-Net that the papers compare with.

Source: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, in the
widespread form with batch norm, padding, and nearest upsampling followed by a convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.networks.base import (
    NetworkDescription,
    SegmentationNetwork,
    check_common,
    check_widths,
    name_taps,
    receptive_field,
)
from hlfd.networks.blocks import conv, double_conv, initialise, max_pool, unit

WIDTHS = (64, 128, 256, 512, 1024)


class UNet(SegmentationNetwork):
    """Two 3^d convolutions per stage, max pooling down, nearest upsampling and a convolution up, concatenated skips."""

    def __init__(
        self, in_channels: int = 1, classes: int = 2, widths: Sequence[int] = WIDTHS, spatial_dims: int = 2
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_widths(widths, 2)
        last = len(widths) - 1
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=2**last,
                receptive_field=receptive_field([2] * len(widths), [3] * last),
                taps=name_taps(
                    [f"encoder.{level}" for level in range(len(widths))],
                    [f"decoder.{step}" for step in range(last)],
                    "head",
                ),
            )
        )
        dims = spatial_dims
        deep_to_shallow = [(widths[level + 1], widths[level]) for level in reversed(range(last))]
        self.encoder = nn.ModuleList(
            double_conv(dims, before, width) for before, width in zip((in_channels, *widths), widths)
        )
        self.pool = max_pool(dims)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), *unit(dims, deep, shallow)) for deep, shallow in deep_to_shallow
        )
        self.decoder = nn.ModuleList(double_conv(dims, 2 * shallow, shallow) for _, shallow in deep_to_shallow)
        self.head = conv(dims, widths[0], classes, kernel=1, bias=True)
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        skips: list[Tensor] = [self.encoder[0](image)]
        for stage in list(self.encoder)[1:]:
            skips.append(stage(self.pool(skips[-1])))
        x = skips.pop()
        for up, stage in zip(self.up, self.decoder):
            x = stage(torch.cat([skips.pop(), up(x)], 1))
        logits: Tensor = self.head(x)
        return logits
