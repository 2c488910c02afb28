"""What every network of the project declares, and the input check that all share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError, GeometryError

TAP_NAMES = ("e1", "e2", "e3", "e4", "e5", "d5", "d4", "d3", "d2", "out")


@dataclass(frozen=True)
class NetworkDescription:
    """Facts about a network that training, inference, export and the feature viewer rely on."""

    in_channels: int
    """Channels of the input (B, in_channels, *spatial)."""
    classes: int
    """Channels of the logits (B, classes, *spatial), at the spatial size of the input."""
    spatial_dims: int
    """2 or 3."""
    divisor: int
    """Every spatial size of the input must be a multiple of it."""
    receptive_field: int
    """Side in voxels of the region that can influence one output voxel (theoretical)."""
    taps: dict[str, str]
    """Module path of each stage: e1..e5 (shallow to deep), d5..d2 (deep to shallow), out (logits)."""


def name_taps(encoder: Sequence[str], decoder: Sequence[str], out: str) -> dict[str, str]:
    """Map module paths to e1..e5, d5..d2 and out.

    ``encoder`` runs from shallow to deep and is counted from its first element, ``decoder`` runs from deep to shallow
    and is counted from its last. A network with fewer stages repeats its deepest one.
    """
    taps = {f"e{i + 1}": encoder[min(i, len(encoder) - 1)] for i in range(5)}
    taps |= {f"d{i}": decoder[max(len(decoder) - i + 1, 0)] for i in (5, 4, 3, 2)}
    return taps | {"out": out}


def receptive_field(
    encoder: Sequence[int], decoder: Sequence[int], stem: int = 1, down: int = 0, interpolated: bool = False
) -> int:
    """Return the largest side, over all positions, of the input region that an output voxel of a U-Net depends on.

    ``encoder`` and ``decoder`` list per level, shallow to deep, how many voxels the convolutions at that level reach to
    either side. Levels are joined by strides of 2: downwards by kernels of 2 (``down`` = 0) or 3 (``down`` = 1),
    upwards by transposed kernels of 2 or by linear interpolation. ``stem`` is the stride of an outermost patching.
    """
    deepest = len(encoder) - 1
    widest = 0
    for position in range(stem * 2**deepest):
        low = high = position // stem
        for radius in decoder[:deepest]:
            low, high = low - radius - interpolated, high + radius + interpolated
            low, high = low // 2, high // 2
        for level in range(deepest, -1, -1):
            low, high = low - encoder[level], high + encoder[level]
            if level:
                low, high = 2 * low - down, 2 * high + 1
        widest = max(widest, stem * (high - low + 1))
    return widest


def check_common(in_channels: int, classes: int, spatial_dims: int) -> None:
    """Raise ``ConfigError`` unless the parameters that all networks share make sense."""
    if in_channels < 1:
        raise ConfigError(f"in_channels is {in_channels}; at least 1 was expected.")
    if classes < 2:
        raise ConfigError(f"classes is {classes}; at least 2 (background and one structure) were expected.")
    if spatial_dims not in (2, 3):
        raise ConfigError(f"spatial_dims is {spatial_dims}; 2 or 3 was expected.")


def check_widths(widths: Sequence[int], least: int) -> None:
    """Raise ``ConfigError`` unless there are at least ``least`` stage widths and all are positive."""
    if len(widths) < least or min(widths) < 1:
        raise ConfigError(f"widths is {list(widths)}; at least {least} positive channel counts were expected.")


class SegmentationNetwork(nn.Module):
    """A network that maps (B, in_channels, *spatial) to logits (B, classes, *spatial)."""

    description: NetworkDescription

    def __init__(self, description: NetworkDescription) -> None:
        super().__init__()
        self.description = description

    @property
    def taps(self) -> dict[str, str]:
        """Module path of each stage, see ``NetworkDescription``."""
        return self.description.taps

    @property
    def divisor(self) -> int:
        """Every spatial size of the input must be a multiple of it."""
        return self.description.divisor

    @property
    def receptive_field(self) -> int:
        """Side in voxels of the region that can influence one output voxel."""
        return self.description.receptive_field

    def batchnorm_pairs(self) -> list[tuple[str, str]]:
        """Paths of (convolution, batch norm) where the norm is applied to nothing but the convolution's output."""
        return sequential_pairs(self)

    def check_input_shape(self, image: Tensor) -> None:
        """Raise ``GeometryError`` with the size to pad to, unless the network can take ``image``."""
        facts = self.description
        if image.ndim != facts.spatial_dims + 2 or image.shape[1] != facts.in_channels:
            axes = "(B, C, j, i)" if facts.spatial_dims == 2 else "(B, C, k, j, i)"
            raise GeometryError(
                f"The input has shape {tuple(image.shape)}; {axes} with C = {facts.in_channels} was expected."
            )
        spatial = tuple(int(size) for size in image.shape[2:])
        padded = tuple(-(-size // facts.divisor) * facts.divisor for size in spatial)
        if padded != spatial or min(spatial) < 1:
            raise GeometryError(
                f"The input's spatial size {spatial} is not a multiple of {facts.divisor}.",
                f"Pad it to {tuple(max(size, facts.divisor) for size in padded)}.",
            )

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits of a checked input."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Check the input's shape and return its logits."""
        if not torch.jit.is_tracing():
            self.check_input_shape(image)
        return self.logits(image)


def sequential_pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Return the paths of convolutions directly followed by a batch norm inside an ``nn.Sequential``."""
    pairs = []
    for path, child in module.named_modules():
        if isinstance(child, nn.Sequential):
            names = list(child._modules.items())
            for (first, conv), (second, norm) in zip(names, names[1:]):
                if isinstance(conv, nn.modules.conv._ConvNd) and isinstance(norm, nn.modules.batchnorm._BatchNorm):
                    prefix = f"{path}." if path else ""
                    pairs.append((prefix + first, prefix + second))
    return pairs
