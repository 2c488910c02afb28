"""The U-Nets of nnU-Net v2, rebuilt in plain torch with the parameter names of its checkpoints.

Names and order of operations follow MIC-DKFZ/dynamic-network-architectures (``PlainConvUNet``,
``ResidualEncoderUNet``; Isensee et al., Nature Methods 2021, and "nnU-Net Revisited", MICCAI 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import ModelError
from hlfd.networks.base import name_taps

Sizes = Sequence[int]
_LAYERS: dict[str, type[nn.Module]] = {
    **{name: getattr(nn, name) for name in ("Conv2d", "Conv3d", "Dropout2d", "Dropout3d", "Dropout")},
    **{name: getattr(nn, name) for name in ("InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d")},
    **{name: getattr(nn, name) for name in ("LeakyReLU", "ReLU", "GELU", "ELU", "SiLU", "PReLU")},
}


def layer(name: str | None) -> type[nn.Module] | None:
    """Return the torch layer that a plan names by its path; others than those of nnU-Net raise ``ModelError``."""
    if name is None:
        return None
    found = _LAYERS.get(str(name).rpartition(".")[2])
    if found is None or not str(name).startswith(("torch.nn.", "torch.nn.modules.")):
        raise ModelError(
            f'The plans name the layer "{name}", which is none of nnU-Net\'s own.',
            "Build the network yourself and name it as package.module:builder.",
        )
    return found


class Layers:
    """The kinds of layers that one network is made of."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.conv: Any = layer(arguments["conv_op"])
        if self.conv not in (nn.Conv2d, nn.Conv3d):
            raise ModelError(f"conv_op of the plans is {arguments['conv_op']}; Conv2d or Conv3d was expected.")
        self.dims = 3 if self.conv is nn.Conv3d else 2
        self.bias = bool(arguments.get("conv_bias", False))
        self.norm: Any = layer(arguments.get("norm_op"))
        self.norm_arguments = dict(arguments.get("norm_op_kwargs") or {})
        self.nonlin: Any = layer(arguments.get("nonlin"))
        self.nonlin_arguments = {**(arguments.get("nonlin_kwargs") or {})}
        self.nonlin_first = bool(arguments.get("nonlin_first", False))

    def sizes(self, value: int | Sizes) -> list[int]:
        """Return one number per axis."""
        return [value] * self.dims if isinstance(value, int) else [int(v) for v in value]

    def activation(self) -> nn.Module:
        """Return the activation; not in place, so that a tap before it keeps what it saw."""
        return self.nonlin(**{**self.nonlin_arguments, **({"inplace": False} if self._can_be_inplace() else {})})

    def _can_be_inplace(self) -> bool:
        return self.nonlin in (nn.LeakyReLU, nn.ReLU, nn.ELU, nn.SiLU)


class ConvUnit(nn.Module):
    """Convolution, norm and activation (``ConvDropoutNormReLU``); dropout does nothing in a frozen teacher."""

    def __init__(
        self,
        kinds: Layers,
        channels_in: int,
        channels: int,
        kernel: int | Sizes,
        stride: int | Sizes = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        kernel = kinds.sizes(kernel)
        padding = [(size - 1) // 2 for size in kernel]
        self.conv = kinds.conv(channels_in, channels, kernel, kinds.sizes(stride), padding, bias=kinds.bias)
        parts: list[str] = []
        if kinds.norm is not None:
            self.norm = kinds.norm(channels, **kinds.norm_arguments)
            parts.append("norm")
        if act and kinds.nonlin is not None:
            self.nonlin = kinds.activation()
            parts.append("nonlin")
        self._order = parts[::-1] if kinds.nonlin_first else parts

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        x = self.conv(x)
        for name in self._order:
            x = getattr(self, name)(x)
        return x


class Stack(nn.Module):
    """Several units, the first with a stride (``StackedConvBlocks``)."""

    def __init__(
        self, kinds: Layers, count: int, channels_in: int, channels: int, kernel: int | Sizes, stride: int | Sizes = 1
    ) -> None:
        super().__init__()
        units = [ConvUnit(kinds, channels_in, channels, kernel, stride)]
        units += [ConvUnit(kinds, channels, channels, kernel) for _ in range(count - 1)]
        self.convs = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the units one after the other."""
        result: Tensor = self.convs(x)
        return result


class ResidualBlock(nn.Module):
    """Two units and a skip with average pooling and 1x1 convolution where sizes change (``BasicBlockD``)."""

    def __init__(
        self, kinds: Layers, channels_in: int, channels: int, kernel: int | Sizes, stride: int | Sizes = 1
    ) -> None:
        super().__init__()
        self.conv1 = ConvUnit(kinds, channels_in, channels, kernel, stride)
        self.conv2 = ConvUnit(kinds, channels, channels, kernel, act=False)
        self.nonlin2 = kinds.activation() if kinds.nonlin is not None else nn.Identity()
        sizes = kinds.sizes(stride)
        skip: list[nn.Module] = []
        if max(sizes) != 1:
            pool: Any = nn.AvgPool3d if kinds.dims == 3 else nn.AvgPool2d
            skip.append(pool(sizes, sizes))
        if channels_in != channels:
            projection = ConvUnit(kinds, channels_in, channels, 1, act=False)
            if projection.conv.bias is not None:  # the projection has none, whatever the other convolutions have
                projection.conv = kinds.conv(channels_in, channels, 1, bias=False)
            skip.append(projection)
        self.skip = nn.Sequential(*skip)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        result: Tensor = self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))
        return result


class ResidualStack(nn.Module):
    """Several residual blocks, the first with a stride (``StackedResidualBlocks``)."""

    def __init__(
        self, kinds: Layers, count: int, channels_in: int, channels: int, kernel: int | Sizes, stride: int | Sizes = 1
    ) -> None:
        super().__init__()
        blocks = [ResidualBlock(kinds, channels_in, channels, kernel, stride)]
        blocks += [ResidualBlock(kinds, channels, channels, kernel) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks one after the other."""
        result: Tensor = self.blocks(x)
        return result


class NnunetEncoder(nn.Module):
    """Stages from shallow to deep; a residual encoder has a stem before them."""

    def __init__(self, kinds: Layers, in_channels: int, plan: Mapping[str, Any], residual: bool) -> None:
        super().__init__()
        widths, kernels, strides, counts = plan["widths"], plan["kernels"], plan["strides"], plan["counts"]
        channels = in_channels
        if residual:
            self.stem = Stack(kinds, 1, in_channels, widths[0], kernels[0])
            channels = widths[0]
        stages: list[nn.Module] = []
        for count, width, kernel, stride in zip(counts, widths, kernels, strides):
            kind = ResidualStack if residual else Stack
            stage: nn.Module = kind(kinds, count, channels, width, kernel, stride)
            stages.append(stage if residual else nn.Sequential(stage))
            channels = width
        self.stages = nn.Sequential(*stages)
        self._residual = residual

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of all stages."""
        x = self.stem(x) if self._residual else x
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class NnunetDecoder(nn.Module):
    """Stages from deep to shallow: transposed convolution, concatenated skip, units, and a head for each."""

    def __init__(self, kinds: Layers, classes: int, plan: Mapping[str, Any]) -> None:
        super().__init__()
        widths, kernels, strides = plan["widths"], plan["kernels"], plan["strides"]
        transposed = nn.ConvTranspose3d if kinds.dims == 3 else nn.ConvTranspose2d
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for step, count in enumerate(plan["decoder_counts"], 1):
            below, width, stride = widths[-step], widths[-step - 1], kinds.sizes(strides[-step])
            self.transpconvs.append(transposed(below, width, stride, stride, bias=kinds.bias))  # type: ignore[arg-type]
            self.stages.append(Stack(kinds, count, 2 * width, width, kernels[-step - 1]))
            self.seg_layers.append(kinds.conv(width, classes, 1, bias=True))

    def forward(self, skips: list[Tensor]) -> Tensor:
        """Return the logits of the last stage; the other heads serve training with deep supervision alone."""
        x = skips[-1]
        for up, stage, skip in zip(self.transpconvs, self.stages, reversed(skips[:-1])):
            x = stage(torch.cat((up(x), skip), 1))
        logits: Tensor = self.seg_layers[-1](x)
        return logits


class NnunetNetwork(nn.Module):
    """``PlainConvUNet`` or, with ``residual``, ``ResidualEncoderUNet``, from the ``arch_kwargs`` of a plan.

    Maps (B, in_channels, *spatial) to logits (B, classes, *spatial). Raises ``ModelError`` for arguments that are
    missing or contradict each other.
    """

    def __init__(self, arguments: Mapping[str, Any], in_channels: int, classes: int, residual: bool) -> None:
        super().__init__()
        kinds = Layers(arguments)
        plan = _plan(arguments, "n_blocks_per_stage" if residual else "n_conv_per_stage")
        self.encoder = NnunetEncoder(kinds, in_channels, plan, residual)
        self.decoder = NnunetDecoder(kinds, classes, plan)
        steps = [kinds.sizes(stride) for stride in plan["strides"]]
        self.divisor = max(math.prod(axis) for axis in zip(*steps))
        """Every spatial size of the input must be a multiple of it."""
        depth = len(plan["widths"])
        self.taps = name_taps(
            [f"encoder.stages.{n}" for n in range(depth)],
            [f"decoder.stages.{n}" for n in range(depth - 1)],
            f"decoder.seg_layers.{depth - 2}",
        )
        """Module path of each stage."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.decoder(self.encoder(image))
        return logits


def _plan(arguments: Mapping[str, Any], counts: str) -> dict[str, Any]:
    """Return the lists of one entry per stage."""
    stages = int(arguments["n_stages"])

    def per_stage(key: str, length: int) -> list[Any]:
        value = arguments[key]
        values = [value] * length if isinstance(value, int) else list(value)
        if len(values) != length:
            raise ModelError(f"{key} of the plans has {len(values)} entries; {length} were expected.")
        return values

    return {
        "widths": per_stage("features_per_stage", stages),
        "kernels": per_stage("kernel_sizes", stages),
        "strides": per_stage("strides", stages),
        "counts": per_stage(counts, stages),
        "decoder_counts": per_stage("n_conv_per_stage_decoder", stages - 1),
    }
