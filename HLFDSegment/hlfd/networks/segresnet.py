"""MONAI's SegResNet as a network of the project.

Source: Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common, name_taps


def _receptive_field(blocks_down: Sequence[int], blocks_up: Sequence[int]) -> int:
    strides = [2**level for level in range(len(blocks_down))]
    encoder = 2 + sum(4 * blocks * stride for blocks, stride in zip(blocks_down, strides, strict=True))
    down = sum(2 * stride for stride in strides[:-1])
    decoder = sum(4 * blocks * stride for blocks, stride in zip(reversed(blocks_up), strides, strict=False))
    interpolation = sum(2 * stride for stride in strides[1:])
    return encoder + down + decoder + interpolation + strides[-1]


class SegResNet(SegmentationNetwork):
    """Residual encoder-decoder with added skips and interpolating upsampling; ``norm`` is ``group`` or ``batch``.

    Its norms come before the activation and the convolution, so batch norm cannot be folded away.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 4,
        init_filters: int = 16,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
        spatial_dims: int = 3,
        norm: str = "group",
    ) -> None:
        from monai.networks.nets import SegResNet as MonaiSegResNet

        check_common(in_channels, classes, spatial_dims)
        look_up(norm, ("group", "batch"), "norm")
        if init_filters < 8 or init_filters % 8:
            raise ConfigError(f"init_filters is {init_filters}; a multiple of 8 (the norm's groups) was expected.")
        if len(blocks_up) != len(blocks_down) - 1:
            raise ConfigError("blocks_up must have one element less than blocks_down.")
        last = len(blocks_up)
        encoder_taps = [f"body.down_layers.{level}" for level in range(last + 1)]
        decoder_taps = [encoder_taps[-1], *(f"body.up_layers.{step}" for step in range(last))]
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=2**last,
                receptive_field=_receptive_field(blocks_down, blocks_up),
                taps=name_taps(encoder_taps, decoder_taps, "body.conv_final"),
            )
        )
        self.body: nn.Module = MonaiSegResNet(
            spatial_dims=spatial_dims,
            init_filters=init_filters,
            in_channels=in_channels,
            out_channels=classes,
            blocks_down=tuple(blocks_down),
            blocks_up=tuple(blocks_up),
            norm=("GROUP", {"num_groups": 8}) if norm == "group" else "BATCH",
        )

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        logits: Tensor = self.body(image)
        return logits
