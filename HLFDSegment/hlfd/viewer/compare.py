"""How alike two layers are, and where a layer's attention goes. Importing this module needs torch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hlfd.viewer.maps import pooled, relative

_TINY = 1e-30


def common_size(one: Tensor, other: Tensor) -> tuple[int, ...]:
    """Return the coarser of two features' sizes (k, j, i), axis by axis."""
    return tuple(min(a, b) for a, b in zip(one.shape[-3:], other.shape[-3:]))


def cosine(one: Tensor, other: Tensor) -> float:
    """Return the cosine of two maps (k, j, i), the finer one first averaged to the size of the coarser."""
    size = common_size(one, other)
    a, b = (relative(pooled(part[None], size).flatten()) for part in (one, other))
    return float(_sum(a * b) / (_sum(a * a) * _sum(b * b)).sqrt().clamp_min(_TINY))


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Return the linear centred kernel alignment of features (C, k, j, i) and (D, k, j, i), voxels as samples.

    ||Y'X||^2 / (||X'X|| ||Y'Y||) of centred channels (Kornblith et al., ICML 2019); the finer one is first averaged to
    the size of the coarser.
    """
    size = common_size(one, other)
    x, y = (_centred(pooled(part, size)) for part in (one, other))
    cross = (y @ x.T).double().square().sum()
    return float(cross / ((x @ x.T).double().norm() * (y @ y.T).double().norm()).clamp_min(_TINY))


def _centred(features: Tensor) -> Tensor:
    """Return the centred channels (C, voxels), scaled to a mean square of one, which changes no alignment."""
    flat = features.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    scale = flat.square().mean(dtype=torch.float64).sqrt().clamp_min(_TINY)
    return flat / scale.to(flat.dtype)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dtype=torch.float64)


def energy_shares(attention: Tensor, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """Return which share of an attention map's sum lies in each mask (k, j, i) at input size."""
    shares, size = relative(attention), tuple(attention.shape)
    total = _sum(shares).clamp_min(_TINY)
    return {
        name: float(_sum(shares * pooled(mask[None].to(shares.dtype), size)[0]) / total) for name, mask in masks.items()
    }


def attention_difference(one: Tensor, other: Tensor) -> Tensor:
    """Return ``one`` minus ``other`` (k, j, i), each divided by its mean, on the coarser grid of the two."""
    size = common_size(one, other)
    a, b = (relative(pooled(part[None], size)[0]) for part in (one, other))
    difference: Tensor = torch.sub(a, b)
    return difference
