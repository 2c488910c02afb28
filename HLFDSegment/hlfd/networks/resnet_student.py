"""The student of HLFD: ResNet-18 without a decoder.

Source: the code of Gorade et al., ISBI 2024, arXiv 2311.16700; He et al., CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common
from hlfd.networks.blocks import (
    Step,
    as_colour,
    conv,
    image_channels,
    initialise,
    listened,
    max_pool,
    unit,
    upsample,
    widest,
)
from hlfd.networks.resnet import check_stages, encoder_steps, residual_stages

WIDTHS = (64, 64, 128, 256, 512)
BLOCKS = (2, 2, 2, 2)
DIVISOR = 32


class ResNetStudent(SegmentationNetwork):
    """Stem, four residual stages, a 1^d convolution to logits at stride 32, and linear upsampling by 32.

    ``widths`` are those of the stem and the four stages, ``blocks`` the residual blocks of the stages. Having no
    decoder, it gives its own e4..e1, brought to the size of the image, as d5..d2; these are computed only while
    someone taps them.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        widths: Sequence[int] = WIDTHS,
        blocks: Sequence[int] = BLOCKS,
        spatial_dims: int = 2,
    ) -> None:
        check_common(in_channels, classes, spatial_dims)
        check_stages(widths, blocks)
        taps = {"e1": "stem", **{f"e{n + 2}": f"stages.{n}" for n in range(4)}}
        taps |= {f"d{n}": f"side.d{n}" for n in (5, 4, 3, 2)} | {"out": "head"}
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=DIVISOR,
                receptive_field=widest([*encoder_steps(blocks), Step(up=DIVISOR)], DIVISOR),
                taps=taps,
            )
        )
        dims = spatial_dims
        self.stem = unit(dims, image_channels(in_channels), widths[0], kernel=7, stride=2)
        self.pool = max_pool(dims, 3)
        self.stages = residual_stages(dims, widths, blocks)
        self.head = nn.Sequential(conv(dims, widths[-1], classes, kernel=1, bias=True), upsample(dims, DIVISOR))
        self.side = nn.ModuleDict({f"d{n + 1}": upsample(dims, 2**n) for n in (1, 2, 3, 4)})
        self.apply(initialise)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        features: list[Tensor] = [self.stem(as_colour(image))]
        x = self.pool(features[0])
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        for name, feature in zip(("d2", "d3", "d4", "d5"), features):
            if listened(self.side[name]):
                self.side[name](feature)
        logits: Tensor = self.head(x)
        return logits
