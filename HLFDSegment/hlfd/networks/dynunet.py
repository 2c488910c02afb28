"""nnU-Net-like teachers, made of the blocks of MONAI's DynUNet.

Source: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
Nature Methods 2021; MONAI ``monai.networks.nets.DynUNet``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import GeometryError
from hlfd.networks.base import (
    NetworkDescription,
    SegmentationNetwork,
    check_common,
    check_widths,
    name_taps,
    receptive_field,
)

TEACHER_WIDTHS = (32, 64, 128, 256, 320, 320)
SMALL_WIDTHS = (16, 32, 64, 128, 192, 192)


class DynUnet(SegmentationNetwork):
    """U-Net with two 3^d convolutions, norm and leaky ReLU per stage, strided down, transposed up, concatenated skips.

    MONAI builds and initialises the blocks; they are called here one after the other, so that each stage has one
    module path and appears once in the weights. ``norm`` is ``instance`` or ``batch``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 4,
        widths: Sequence[int] = TEACHER_WIDTHS,
        spatial_dims: int = 3,
        norm: str = "instance",
    ) -> None:
        from monai.networks.nets import DynUNet

        check_common(in_channels, classes, spatial_dims)
        check_widths(widths, 3)
        look_up(norm, ("instance", "batch"), "norm")
        levels = len(widths)
        encoder_taps = ["input_block", *(f"downsamples.{i}" for i in range(levels - 2)), "bottleneck"]
        decoder_taps = [f"upsamples.{i}" for i in range(levels - 1)]
        super().__init__(
            NetworkDescription(
                in_channels=in_channels,
                classes=classes,
                spatial_dims=spatial_dims,
                divisor=2 ** (levels - 1),
                receptive_field=receptive_field([2] + [1] * (levels - 1), [2] * (levels - 1), down=1),
                taps=name_taps(encoder_taps, decoder_taps, "output_block"),
            )
        )
        self.norm = norm
        body = DynUNet(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=classes,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(widths),
            norm_name=(norm, {"affine": True}),
        )
        self.input_block: nn.Module = body.input_block
        self.downsamples: nn.ModuleList = body.downsamples
        self.bottleneck: nn.Module = body.bottleneck
        self.upsamples: nn.ModuleList = body.upsamples
        self.output_block: nn.Module = body.output_block

    def batchnorm_pairs(self) -> list[tuple[str, str]]:
        """Paths of the (convolution, batch norm) pairs of MONAI's basic blocks; none with instance norm."""
        return [
            (f"{path[: -len('norm1')]}conv{path[-1]}.conv", path)
            for path, module in self.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        ]

    def check_input_shape(self, image: Tensor) -> None:
        """Refuse also an image whose bottleneck is a single voxel, which instance norm would turn into zeros."""
        super().check_input_shape(image)
        if self.norm == "instance" and max(image.shape[2:]) == self.divisor:
            raise GeometryError(
                f"The input's spatial size {tuple(image.shape[2:])} is one block of {self.divisor} voxels; instance "
                "norm needs more than one.",
                f"Pad one axis to {2 * self.divisor}.",
            )

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        skips: list[Tensor] = [self.input_block(image)]
        for down in self.downsamples:
            skips.append(down(skips[-1]))
        x = self.bottleneck(skips[-1])
        for up in self.upsamples:
            x = up(x, skips.pop())
        logits: Tensor = self.output_block(x)
        return logits


def build_dynunet_small(
    in_channels: int = 1,
    classes: int = 4,
    widths: Sequence[int] = SMALL_WIDTHS,
    spatial_dims: int = 3,
    norm: str = "instance",
) -> DynUnet:
    """Build the teacher that fits into a model package (about 20 MB in half precision)."""
    return DynUnet(in_channels, classes, widths, spatial_dims, norm)
