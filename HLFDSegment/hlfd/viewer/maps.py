"""What one layer of one network shows: attention, standardised channels, principal components, class evidence.

Features are (C, k, j, i). Sizes of masks are pooled by block means, so that a mask becomes the share of each feature
voxel. Voxels are worked on in the features' own type, what is small is added up in float64. Importing this module needs
torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hlfd.viewer.request import POWER

_TINY = 1e-12


def pooled(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return (C, k, j, i) averaged over the blocks that make up each voxel of a coarser grid of the same box."""
    k, j, i = size
    return maps if tuple(maps.shape[1:]) == (k, j, i) else F.adaptive_avg_pool3d(maps[None], (k, j, i))[0]


def attention_map(features: Tensor, power: int = POWER) -> Tensor:
    """Return mean over channels of abs(x)^power, (k, j, i) (Zagoruyko and Komodakis, ICLR 2017)."""
    powers = features.square()  # squares are quick, other powers of so many voxels are not
    powers = powers.square_() if power == 4 else powers.pow_(power / 2)
    share = features.new_full((1, len(features)), 1 / len(features))
    return (share @ powers.flatten(1)).reshape(features.shape[1:])


def relative(attention: Tensor) -> Tensor:
    """Return the map divided by its mean, so that maps of several networks share a scale: 1 is the region's mean."""
    mean = attention.mean(dtype=torch.float64).clamp_min(1e-30)  # fourth powers of small features are very small
    return attention / mean.to(attention.dtype)


@dataclass(frozen=True)
class Channels:
    """The channels in standard deviations from each one's mean, and how selective for tumor each is."""

    standardised: Tensor
    """(C, k, j, i)."""
    selectivity: Tensor
    """(C,): mean inside the tumor minus the mean of the kidney's and the background's means, in standard deviations."""


def standardise(features: Tensor, masks: Mapping[str, Tensor]) -> Channels:
    """Return the channels with their selectivity; ``masks`` (k, j, i) at input size for tumor, kidney, background.

    Where one of the groups is empty it is left out; without a tumor the kidney takes its place.
    """
    flat = features.flatten(1)
    values = flat - flat.mean(1, keepdim=True)
    deviation = values.norm(dim=1, keepdim=True) / values.shape[1] ** 0.5
    values.div_(deviation.clamp_min(_TINY))
    means = {}
    for name, mask in masks.items():
        share = pooled(mask[None].to(flat.dtype), features.shape[1:]).flatten()
        total = share.sum(dtype=torch.float64)
        if total > 0:
            means[name] = (values @ share).double() / total
    wanted = "tumor" if "tumor" in means else "kidney"
    others = [mean for name, mean in means.items() if name != wanted]
    standardised = values.reshape(features.shape)
    if wanted not in means or not others:
        return Channels(standardised, torch.zeros(len(features), dtype=torch.float64))
    return Channels(standardised, (means[wanted] - torch.stack(others).mean(0)).cpu())


def components(features: Tensor, count: int = 3) -> tuple[Tensor, float]:
    """Return the first components' scores in standard deviations (count, k, j, i), and the share of variance they hold.

    The largest weight of each component is positive; components that a layer of few channels lacks are zero.
    """
    flat = features.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    covariance = (flat @ flat.T).double() / flat.shape[1]
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:count].clamp_min(0), vectors.flip(1)[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    live = values > _TINY * values.sum().clamp_min(_TINY)
    scores = torch.zeros(count, flat.shape[1], dtype=flat.dtype, device=flat.device)
    scores[: len(values)][live] = (vectors[:, live] / values[live].sqrt()).T.to(flat.dtype) @ flat
    share = float(values.sum() / covariance.diagonal().sum().clamp_min(_TINY))
    return scores.reshape(count, *features.shape[1:]), share


def turned(scores: Tensor, target: Tensor) -> Tensor:
    """Turn scores (3, k, j, i) so that they match ``target``'s colours best: orthogonal Procrustes on the coarser grid.

    Two networks have no common basis of channels; after the turn one colour stands for one kind of place in both.
    """
    size = tuple(min(a, b) for a, b in zip(scores.shape[1:], target.shape[1:]))
    alike = (pooled(target, size).flatten(1) @ pooled(scores, size).flatten(1).T).double()
    left, _, right = torch.linalg.svd(alike)
    return torch.einsum("dc,ckji->dkji", (left @ right).to(scores.dtype), scores)


def colours(scores: Tensor, limit: float = 2.5) -> Tensor:
    """Return scores (3, k, j, i) of -limit..limit standard deviations as RGB (k, j, i, 3) of 0..255."""
    return (127.5 + scores * (127.5 / limit)).clamp(0, 255).round().to(torch.uint8).permute(1, 2, 3, 0)


def class_evidence(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the Grad-CAM map (k, j, i), its maximum 1, of the class whose logit has ``gradient`` (C, k, j, i).

    Channels weighted with their mean gradient, added, positive part (Selvaraju et al., ICCV 2017); for segmentation the
    logit is summed over the voxels of the class (Vinogradova et al., AAAI 2020).
    """
    weights = gradient.mean((1, 2, 3), dtype=torch.float64)
    weights = weights / weights.abs().max().clamp_min(1e-300)  # a mean over many voxels may be too small for float32
    evidence = torch.einsum("c,ckji->kji", weights.to(features.dtype), features).clamp_min(0)
    return evidence / evidence.max().clamp_min(_TINY)
