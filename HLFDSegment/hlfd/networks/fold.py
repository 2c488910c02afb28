"""Folding of batch norm into the convolutions before it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from hlfd.networks.base import SegmentationNetwork, sequential_pairs


def foldable_pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Return the paths of (convolution, batch norm) pairs that ``fold_batchnorm`` would fold."""
    return module.batchnorm_pairs() if isinstance(module, SegmentationNetwork) else sequential_pairs(module)


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose batch norms are folded into their convolutions and replaced by identities.

    With w, b the weights and bias of a convolution and m, v, g, h the running mean, variance, weight and bias of the
    batch norm after it: w' = w * g / sqrt(v + eps), b' = (b - m) * g / sqrt(v + eps) + h. The result equals the
    original in eval mode. Batch norms that do not directly follow a convolution stay.
    """
    folded = copy.deepcopy(module).eval()
    for conv_path, norm_path in foldable_pairs(folded):
        _fold_pair(folded.get_submodule(conv_path), folded.get_submodule(norm_path))
        parent, _, name = norm_path.rpartition(".")
        setattr(folded.get_submodule(parent), name, nn.Identity())
    return folded


@torch.no_grad()
def _fold_pair(conv: nn.Module, norm: nn.Module) -> None:
    assert isinstance(conv, nn.modules.conv._ConvNd)
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance.double() + norm.eps).rsqrt()
    shift = -mean.double() if conv.bias is None else conv.bias.double() - mean.double()
    if norm.affine:
        scale = scale * norm.weight.double()
    bias = shift * scale + (norm.bias.double() if norm.affine else 0.0)
    shape = [1] * conv.weight.ndim
    shape[1 if conv.transposed else 0] = -1
    conv.weight.copy_(conv.weight.double() * scale.reshape(shape))
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype))
