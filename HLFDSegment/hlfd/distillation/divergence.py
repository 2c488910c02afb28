"""Kullback-Leibler divergence of the softmaxes of many rows, with its gradient written out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = 1 << 17
"""Elements worked on at once on a CPU, so that they stay in its cache."""
_FEW = 64
"""Elements up to which a row is shorter than what a CPU works on at once."""


class _Divergence(torch.autograd.Function):
    """Faster on a CPU than two log_softmax and kl_div: rows of few classes are slow there, and nothing but the gradient
    is kept. With p, q the softmaxes of s/T, t/T: sum KL(q || p), gradient (p - q) / T.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        gradient = torch.empty(student.shape, dtype=torch.float32, device=student.device)
        total = torch.zeros((), dtype=torch.float64, device=student.device)
        for block in row_blocks(student):
            a, p, log_p = shifted_softmax(student[block], temperature)
            b, q, log_q = shifted_softmax(teacher[block], temperature)
            total += (b.sub_(a).mul_(q).sum() + (log_p - log_q).sum()).double()
            torch.sub(p, q, out=gradient[block])
        ctx.save_for_backward(gradient)
        ctx.temperature, ctx.dtype = temperature, student.dtype
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * (gradients[0] / ctx.temperature)).to(ctx.dtype), None, None


def row_blocks(rows: Tensor) -> list[slice]:
    """Return slices that cover all rows: one on a GPU, many of a cache's size on a CPU."""
    size = len(rows) if rows.is_cuda else max(1, _BLOCK // rows.shape[1])
    return [slice(start, start + size) for start in range(0, len(rows), size)]


def shifted_softmax(rows: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return x/T with its maximum at 0, softmax(x/T), and the logarithm of its norm (R, 1), in float32.

    Rows of few elements lie across memory in what is returned: a CPU sums and exponentiates along many rows at once.
    """
    few = rows.shape[1] <= _FEW and not rows.is_cuda
    x = torch.empty(rows.shape[::-1], device=rows.device).t() if few else torch.empty(rows.shape, device=rows.device)
    x.copy_(rows).div_(temperature)
    x -= x.amax(1, keepdim=True)
    p = x.exp()
    norm = p.sum(1, keepdim=True)
    p /= norm
    return x, p, norm.log_()


def class_rows(x: Tensor) -> Tensor:
    """Return (B, C, *spatial) as (voxels of the batch, C)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def class_softmax(x: Tensor, temperature: float) -> Tensor:
    """Return softmax_c(x/T) of (B, C, *spatial) in float32, with the classes innermost in memory."""
    rows = class_rows(x)
    result = torch.empty(rows.shape, dtype=torch.float32, device=x.device)
    for block in row_blocks(rows):
        result[block] = shifted_softmax(rows[block], temperature)[1]
    return result.view(x.movedim(1, -1).shape).movedim(-1, 1)


def softmax_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the sum over rows of KL(softmax(t/T) || softmax(s/T)) for (rows, elements), in float32.

    The teacher gets no gradient.
    """
    total: Tensor = _Divergence.apply(student, teacher.detach(), temperature)
    return total
