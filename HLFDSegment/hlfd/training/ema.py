"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """A copy of a network that follows it: w_ema <- d * w_ema + (1 - d) * w.

    d = min(decay, (1 + step) / (10 + step)), so that the random start is forgotten soon. Buffers (batch norm
    statistics) follow likewise; integer buffers are copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow ``network`` after optimiser step ``step`` (0, 1, ...)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        own, new = self.network.state_dict(), network.state_dict()
        averaged = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in averaged], [new[name] for name in averaged], 1.0 - decay)
        for name in own.keys() - set(averaged):
            own[name].copy_(new[name])
