"""UNet++, the teacher of HLFD.

Source: Zhou et al., "UNet++: a nested U-Net architecture for medical image segmentation", DLMIA 2018. Widths as in the
code of Gorade et al., ISBI 2024, arXiv 2311.16700 (n = 64, without deep supervision). MONAI's ``BasicUNetPlusPlus``
differs from it in width and upsampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.networks.base import (
    NetworkDescription,
    SegmentationNetwork,
    check_common,
    check_widths,
    name_taps,
    receptive_field,
)
from hlfd.networks.blocks import conv, double_conv, initialise, max_pool, upsample

WIDTHS = (64, 128, 256, 512, 1024)
_RELEASED = ("1_0", "2_0", "1_1", "3_0", "4_0", "0_1", "0_2", "0_3", "1_3")


class UNetPlusPlus(SegmentationNetwork):
    """U-Net with nested dense skips: node x_ij at level i (stride 2^i) combines x_i0 .. x_i(j-1) with x_(i+1)(j-1).

    ``taps`` says which nodes e1..e5 and d5..d2 are: ``stages`` the encoder and the last node of each level, as
    everywhere in this project; ``released`` what the code of HLFD returned under these names (e3 is a node of level 1
    and d5, d4, d3 are nodes of level 0), for replication. Upsampling is linear with corners not aligned, so that the
    result does not depend on the size of the image; the released code aligns them.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        spatial_dims: int = 2,
        taps: str = "stages",
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
                receptive_field=receptive_field([2] * len(widths), [2] * last, interpolated=True),
                taps=_taps(taps, last),
            )
        )
        self.levels = len(widths)
        self.pool = max_pool(spatial_dims)
        self.up = upsample(spatial_dims, 2)
        self.nodes = nn.ModuleDict()
        for level, width in enumerate(widths):
            above = widths[level - 1] if level else in_channels
            self.nodes[f"{level}_0"] = double_conv(spatial_dims, above, width)
            for step in range(1, self.levels - level):
                channels = step * width + widths[level + 1]
                self.nodes[f"{level}_{step}"] = double_conv(spatial_dims, channels, width)
        self.head = conv(spatial_dims, widths[0], classes, kernel=1, bias=True)
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        rows: list[list[Tensor]] = [[] for _ in range(self.levels)]
        for level in range(self.levels):
            # a new level completes one node of every level above it
            rows[level].append(self.nodes[f"{level}_0"](self.pool(rows[level - 1][0]) if level else image))
            for row in reversed(range(level)):
                step = level - row
                joined = torch.cat([*rows[row], self.up(rows[row + 1][step - 1])], 1)
                rows[row].append(self.nodes[f"{row}_{step}"](joined))
        logits: Tensor = self.head(rows[0][-1])
        return logits


def _taps(kind: str, last: int) -> dict[str, str]:
    if look_up(kind, ("stages", "released"), "taps") == "stages":
        encoder = [f"nodes.{level}_0" for level in range(last + 1)]
        decoder = [f"nodes.{level}_{last - level}" for level in reversed(range(last))]
        return name_taps(encoder, decoder, "head")
    if last != 4:
        raise ConfigError(f"The released taps belong to five levels, not {last + 1}.", "Use taps: stages.")
    paths = [f"nodes.{node}" for node in _RELEASED]
    return name_taps(paths[:5], paths[5:], "head")
