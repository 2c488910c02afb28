"""Streaks of beam hardening and photon starvation."""

from __future__ import annotations

import numpy as np
import torch

from hlfd.phantom.tissues import Tissue

_RAYS = 360


def add_metal_streaks(
    image: torch.Tensor, tissue: torch.Tensor, spacing: list[float], rng: np.random.Generator
) -> None:
    """Add bright and dark rays around metal to the slices (k, j, i) that hold some, in place.

    ``spacing`` is in mm along (k, j, i).
    """
    metal = tissue == int(Tissue.METAL)
    for k in torch.nonzero(metal.any(2).any(1)).flatten().tolist():
        where = torch.nonzero(metal[k]).float().mean(0)
        y = (torch.arange(image.shape[1], device=image.device) - where[0])[:, None] * spacing[1]
        x = (torch.arange(image.shape[2], device=image.device) - where[1])[None, :] * spacing[2]
        rays = rng.standard_normal(_RAYS) * rng.uniform(80, 350)
        rays = np.convolve(np.concatenate([rays, rays[:4]]), np.full(5, 0.2), "valid")
        profile = torch.from_numpy(rays.astype(np.float32)).to(image.device)
        angle = ((torch.atan2(y, x) / (2 * np.pi) + 0.5) * (_RAYS - 1)).long()
        reach = torch.exp(-torch.sqrt(x * x + y * y) / 70.0)
        image[k] += profile[angle] * reach
