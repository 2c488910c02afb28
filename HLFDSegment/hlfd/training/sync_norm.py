"""Batch norm over a batch that several processes share, on any device (torch's own needs CUDA)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from hlfd.collectives import batch_gather, batch_is_shared, batch_sum


class _Normalise(torch.autograd.Function):
    """y = (x - m) * r * weight + bias with mean m and r = 1 / sqrt(variance + eps) over the shared batch.

    With n values per channel in all, h = (x - m) * r and g = dL/dy: dL/dx = weight * r * (g - sum(g) / n - h *
    sum(g * h) / n), where the sums run over all processes; dL/dweight = sum(g * h) and dL/dbias = sum(g) over the own
    share, because gradients of parameters are averaged later.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        ctx.count = count
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        g, centred = gradient.float(), x.float() - mean.view(shape)
        sum_g, sum_gh = g.sum(axes), (g * centred).sum(axes) * scale
        mean_g, mean_gh = batch_sum(torch.stack([sum_g, sum_gh])) / ctx.count
        of_g, of_x = weight * scale, -weight * scale * scale * mean_gh
        result = torch.addcmul((-of_g * mean_g).view(shape), g, of_g.view(shape)).addcmul_(centred, of_x.view(shape))
        return result.to(gradient.dtype), sum_gh, sum_g, None, None, None, None


@torch.no_grad()
def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance per channel over the shared batch, and the number of values per channel."""
    variance, mean = torch.var_mean(x.float(), [0, *range(2, x.ndim)], correction=0)
    count = torch.full((1,), x.numel() / x.shape[1], dtype=torch.float64, device=x.device)
    parts = batch_gather(torch.cat([mean.double(), variance.double(), count]))
    means, variances = parts[:, :-1].chunk(2, 1)
    shares = parts[:, -1:] / parts[:, -1].sum()
    mean = (shares * means).sum(0)
    variance = (shares * (variances + (means - mean) ** 2)).sum(0)
    return mean.float(), variance.float(), parts[:, -1].sum().float()


def _forward(norm: Any, x: Tensor) -> Tensor:
    """Compute ``norm(x)`` over the shared batch, and its running statistics, as ``nn.BatchNorm`` does in training."""
    if not (norm.training and batch_is_shared()):
        result: Tensor = type(norm).forward(norm, x)
        return result
    norm._check_input_dim(x)
    mean, variance, count = _statistics(x)
    if norm.track_running_stats:
        norm.num_batches_tracked.add_(1)
        share = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), share)
    weight = norm.weight if norm.affine else torch.ones_like(mean)
    bias = norm.bias if norm.affine else torch.zeros_like(mean)
    normalised: Tensor = _Normalise.apply(x, weight, bias, mean, variance, count, norm.eps)
    return normalised


@contextlib.contextmanager
def synchronised_batch_norm(module: nn.Module) -> Iterator[None]:
    """Within the context the batch norms in ``module`` use statistics of the whole shared batch while they train.

    The modules stay what they are, so that folding, export and checkpoints are not concerned.
    """
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    for norm in norms:
        norm.forward = partial(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward
