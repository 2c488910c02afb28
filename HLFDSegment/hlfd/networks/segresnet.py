"""MONAI's SegResNet as a network of the project.

Source: Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.networks.base import NetworkDescription, SegmentationNetwork, check_common, name_taps, receptive_field


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
                receptive_field=receptive_field(
                    [1 + 2 * blocks_down[0], *(2 * blocks for blocks in blocks_down[1:])],
                    [2 * blocks for blocks in reversed(blocks_up)],
                    down=1,
                    interpolated=True,
                ),
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
