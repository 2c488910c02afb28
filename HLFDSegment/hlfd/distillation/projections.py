"""1x1 projections for methods that compare feature maps of different channels: trained ones, and random ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlfd.distillation.base import convolution

Shapes = Mapping[str, tuple[int, int]]
"""Name -> channels in and out."""
Project = Callable[[Tensor], Tensor]


class TrainedProjections(nn.Module):
    """Created once and trained with the student."""

    def __init__(self, spatial_dims: int, shapes: Shapes) -> None:
        super().__init__()
        self.maps = nn.ModuleDict({name: convolution(spatial_dims, *channels) for name, channels in shapes.items()})

    def draw(self, device: torch.device) -> dict[str, Project]:
        """Return the projections by name; the same in every step."""
        return dict(self.maps.items())


class RandomProjections(nn.Module):
    """Drawn anew in every step and never trained, like a fresh ``nn.Conv``: U(-a, a) with a = fan_in^-0.5.

    Each draw is a pure function of ``seed`` and of how many draws came before; their number is part of the state, so
    that a resumed run goes on as an unbroken one.
    """

    def __init__(self, spatial_dims: int, shapes: Shapes, seed: int) -> None:
        super().__init__()
        self._convolve = F.conv3d if spatial_dims == 3 else F.conv2d
        self._ones = (1,) * spatial_dims
        self._shapes, self._seed = dict(shapes), seed
        self.draws = 0

    def draw(self, device: torch.device) -> dict[str, Project]:
        """Return new projections by name, on ``device``."""
        mixed = np.random.SeedSequence([self._seed, self.draws]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(mixed))
        self.draws += 1
        return {name: self._one(*channels, generator, device) for name, channels in self._shapes.items()}

    def _one(self, channels_in: int, channels_out: int, generator: torch.Generator, device: torch.device) -> Project:
        bound = 1.0 / math.sqrt(channels_in)
        drawn = torch.empty(channels_out, channels_in + 1).uniform_(-bound, bound, generator=generator).to(device)
        weight = drawn[:, :-1].reshape(channels_out, channels_in, *self._ones)
        return partial(self._convolve, weight=weight, bias=drawn[:, -1].contiguous())

    def get_extra_state(self) -> dict[str, int]:
        """Return the number of draws made."""
        return {"draws": self.draws}

    def set_extra_state(self, state: Any) -> None:
        """Go on after that many draws."""
        self.draws = int(state["draws"])
