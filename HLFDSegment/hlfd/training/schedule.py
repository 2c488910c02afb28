"""Learning rate and parameter groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from hlfd.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Return the rate of ``step``: linear warm-up, then a cosine from ``lr`` to ``final_lr`` at the last step."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / (settings.warmup_steps + 1)
    span = max(settings.steps - 1 - settings.warmup_steps, 1)
    fraction = min((step - settings.warmup_steps) / span, 1.0)
    cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
    return settings.final_lr + (settings.lr - settings.final_lr) * cosine


def make_optimizer(modules: list[nn.Module], settings: TrainSettings, device: torch.device) -> torch.optim.AdamW:
    """Return AdamW over the trainable parameters of ``modules``; only matrices and kernels decay."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=device.type == "cuda")
