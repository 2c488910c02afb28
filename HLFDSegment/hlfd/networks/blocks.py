"""Layers that the networks of the papers share, in 2-D and 3-D with the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Union

import torch
from torch import Tensor, nn
from torch.nn import functional

from hlfd.errors import ConfigError

Kernel = Union[int, Sequence[int]]

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MAX_POOLS: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVERAGE_POOLS: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_DROPOUTS: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
RELU = partial(nn.ReLU, inplace=True)
"""The activation that blocks use unless told otherwise."""
MODES = {2: "bilinear", 3: "trilinear"}
"""Linear interpolation by number of spatial axes."""


def conv(
    dims: int,
    channels_in: int,
    channels: int,
    kernel: Kernel = 3,
    stride: int = 1,
    dilation: Kernel = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Module:
    """Return a convolution whose padding keeps the size (divided by ``stride``); kernel 2 takes none."""
    kernels = [kernel] * dims if isinstance(kernel, int) else list(kernel)
    dilations = [dilation] * dims if isinstance(dilation, int) else list(dilation)
    padding = [(k - 1) // 2 * d for k, d in zip(kernels, dilations)]
    return _CONVOLUTIONS[dims](
        channels_in, channels, kernels, stride=stride, padding=padding, dilation=dilations, groups=groups, bias=bias
    )


def thinned(x: Tensor, stride: int) -> Tensor:
    """Return every ``stride``-th voxel of (N, C, ...), for the 1^d convolution of a strided shortcut.

    The same as a stride of that convolution, of which oneDNN 3.x on processors with AVX2 alone writes past its memory
    in the backward pass on one thread when the channels are no multiple of 8 (seen with torch 2.13 and valgrind in
    jit_avx2_1x1_convolution_bwd_weights_t).
    """
    for axis in range(2, x.ndim):
        x = x[(slice(None),) * axis + (slice(None, None, stride),)]
    return x


def transposed(
    dims: int, channels_in: int, channels: int, kernel: int = 2, padding: int = 0, bias: bool = False
) -> nn.Module:
    """Return a transposed convolution that doubles the size."""
    extra = 2 + 2 * padding - kernel
    return _TRANSPOSED[dims](channels_in, channels, kernel, stride=2, padding=padding, output_padding=extra, bias=bias)


def norm(dims: int, channels: int) -> nn.Module:
    """Return a batch norm."""
    return _NORMS[dims](channels)


def max_pool(dims: int, kernel: int = 2) -> nn.Module:
    """Return a max pooling of stride 2, padded for odd kernels."""
    return _MAX_POOLS[dims](kernel, stride=2, padding=(kernel - 1) // 2)


def average_pool(dims: int, kernel: int = 3) -> nn.Module:
    """Return an average pooling of stride 2, padded for odd kernels."""
    return _AVERAGE_POOLS[dims](kernel, stride=2, padding=(kernel - 1) // 2)


def dropout(dims: int, share: float) -> nn.Module:
    """Return a dropout of whole channels."""
    return _DROPOUTS[dims](share)


def upsample(dims: int, factor: int) -> nn.Module:
    """Return a linear interpolation with corners not aligned: its weights do not depend on the image's size."""
    return nn.Upsample(scale_factor=factor, mode=MODES[dims], align_corners=False)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize ``x`` linearly to the spatial size of ``like``."""
    return functional.interpolate(x, size=like.shape[2:], mode=MODES[x.ndim - 2], align_corners=False)


def unit(dims: int, channels_in: int, channels: int, activation: Any = RELU, **options: Any) -> nn.Sequential:
    """Return convolution, batch norm and activation (built by ``activation``); ``options`` as in ``conv``."""
    return nn.Sequential(conv(dims, channels_in, channels, **options), norm(dims, channels), activation())


def double_conv(dims: int, channels_in: int, channels: int) -> nn.Sequential:
    """Return two units of 3^d convolutions, the block of U-Net and UNet++."""
    return nn.Sequential(*unit(dims, channels_in, channels), *unit(dims, channels, channels))


def image_channels(in_channels: int) -> int:
    """Return the channels that a backbone of photographs gets: one channel is shown to it as red, green and blue."""
    return 3 if in_channels == 1 else in_channels


def as_colour(image: Tensor) -> Tensor:
    """Repeat a single-channel image (B, 1, *spatial) to three channels, as the papers do; leave others alone."""
    return torch.cat([image] * 3, 1) if image.shape[1] == 1 else image


def check_pooled(network: str, pooled: nn.Module, image: Tensor) -> None:
    """Raise ``ConfigError`` where the norm of a unit would be trained on a mean over the whole of a single image."""
    # norms that processes share are of another type: they see the images of all processes
    plain = any(type(module) in _NORMS.values() for module in pooled.modules())
    if plain and pooled.training and len(image) < 2:
        raise ConfigError(
            f"{network} normalises means over whole images, which a batch of one image does not allow in training.",
            "Set batch_size to 2 or more, and accumulate so that a part holds 2.",
        )


def listened(module: nn.Module) -> bool:
    """Whether someone reads the output of ``module`` by a forward hook; branches that only serve taps run only then."""
    return bool(module._forward_hooks)


def initialise(module: nn.Module) -> None:
    """He initialisation of convolutions by their outputs (He et al., ICCV 2015), as the backbones use it."""
    if isinstance(module, nn.modules.conv._ConvNd):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@dataclass(frozen=True)
class Step:
    """One layer on the widest path through a network: how its output positions depend on input positions."""

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    up: int = 1
    """Factor of a linear interpolation, which replaces the convolution; 1 for none."""
    transposed: bool = False
    """Whether it is a transposed convolution of ``stride``, padded to give exactly that enlargement."""

    def reads(self, low: int, high: int) -> tuple[int, int]:
        """Return the first and last input position that the output positions ``low`` .. ``high`` depend on."""
        if self.up > 1:
            return (2 * low + 1 - self.up) // (2 * self.up), (2 * high + 1 - self.up) // (2 * self.up) + 1
        if self.transposed:
            padding = (self.kernel - 1) // 2
            return -((self.kernel - 1 - padding - low) // self.stride), (high + padding) // self.stride
        padding = (self.kernel - 1) // 2 * self.dilation
        reach = (self.kernel - 1) * self.dilation
        return low * self.stride - padding, high * self.stride - padding + reach


def widest(path: Sequence[Step], divisor: int) -> int:
    """Return the receptive field of a chain of layers, given from input to output, in voxels of the input."""
    spans = []
    for position in range(divisor):
        low = high = position
        for step in reversed(path):
            low, high = step.reads(low, high)
        spans.append(high - low + 1)
    return max(spans)
