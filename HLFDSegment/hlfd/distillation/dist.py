"""DIST: correlations of the predictions instead of their exact match."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hlfd.collectives import batch_sum
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.divergence import class_rows, row_blocks, shifted_softmax
from hlfd.distillation.shapes import check_pair, resize

_EPSILON = 1e-8
_CONSTANT = 1e-13
"""Sum of squares around the mean below which rows of probabilities are constant up to rounding."""


def dist_loss(
    student: Tensor, teacher: Tensor, inter_weight: float = 1.0, intra_weight: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """T^2 * (beta * (1 - mean_i rho(p_s[i], p_t[i])) + gamma * (1 - mean_c rho(p_s[:, c], p_t[:, c]))).

    rho is Pearson's correlation, p = softmax(z/T) of logits (B, C, *spatial), i runs over all voxels of the batch
    (between classes), c over classes (within a class, across voxels). Two constant rows, as of two uniform
    predictions, count as rho 1. The student is resized linearly to the teacher's size. Source: Huang et al.,
    "Knowledge distillation from a stronger teacher", NeurIPS 2022, arXiv 2205.10536.
    """
    check_pair(student, teacher, same_channels=True)
    student = resize(student, teacher.shape[2:])
    rows = class_rows(student), class_rows(teacher.detach())
    inter, moments = _Statistics.apply(*rows, temperature)
    count = torch.tensor(float(len(rows[0])), dtype=moments.dtype, device=moments.device)
    within = _within_classes(batch_sum(moments), batch_sum(count)).float()
    return temperature**2 * (inter_weight * (1.0 - inter / len(rows[0])) + intra_weight * (1.0 - within.mean()))


def _within_classes(moments: Tensor, count: Tensor) -> Tensor:
    """Return rho of every class across voxels from the sums that ``_Statistics`` gives."""
    a, aa, b, bb, ab = moments
    squares_a, squares_b = (aa - a * a / count).clamp(min=0), (bb - b * b / count).clamp(min=0)
    rho = (ab - a * b / count) / (squares_a * squares_b).clamp(min=_EPSILON**2).sqrt()
    return torch.where(squares_a + squares_b < _CONSTANT * count, torch.ones_like(rho), rho)


class _Statistics(torch.autograd.Function):
    """What both correlations need of rows (voxels, C) of logits, with the gradient written out, block by block.

    With a = p - 1/C, b = q - 1/C, which are centred over classes: sum_i rho(a_i, b_i), and per class over voxels the
    sums of a, a^2, b, b^2, ab (5, C) in float64. drho/da = b / (|a| |b|) - rho * a / |a|^2.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        classes = student.shape[1]
        own, other, slope = (torch.empty(student.shape, device=student.device) for _ in range(3))
        inter = torch.zeros((), dtype=torch.float64, device=student.device)
        moments = torch.zeros(5, classes, dtype=torch.float64, device=student.device)
        for block in row_blocks(student):
            a, b = own[block], other[block]
            torch.sub(shifted_softmax(student[block], temperature)[1], 1.0 / classes, out=a)
            torch.sub(shifted_softmax(teacher[block], temperature)[1], 1.0 / classes, out=b)
            aa, bb, ab = a * a, b * b, a * b
            moments += torch.stack([x.sum(0) for x in (a, aa, b, bb, ab)]).double()
            squares_a, squares_b, product = (x.sum(1, keepdim=True) for x in (aa, bb, ab))
            scale = (squares_a * squares_b).sqrt_().clamp_(min=_EPSILON).reciprocal_()
            constant = squares_a + squares_b < _CONSTANT
            rho = (product * scale).masked_fill_(constant, 1.0)
            inter += rho.sum().double()
            pull = torch.where(scale < 1.0 / _EPSILON, rho / squares_a.clamp_(min=_CONSTANT), torch.zeros_like(rho))
            torch.sub(b * scale.masked_fill_(constant, 0.0), a * pull.masked_fill_(constant, 0.0), out=slope[block])
        ctx.save_for_backward(own, other, slope)
        ctx.temperature, ctx.dtype = temperature, student.dtype
        return inter.float(), moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        own, other, slope = ctx.saved_tensors
        of_inter, of_moments = gradients[0], gradients[1].float()
        result = torch.empty(own.shape, dtype=ctx.dtype, device=own.device)
        for block in row_blocks(own):
            a = own[block]
            g = slope[block] * of_inter + of_moments[0] + a * (2.0 * of_moments[1]) + other[block] * of_moments[4]
            p = a + 1.0 / own.shape[1]
            g -= (p * g).sum(1, keepdim=True)
            result[block] = g.mul_(p).div_(ctx.temperature).to(ctx.dtype)
        return result, None, None


class Dist(Method):
    """``dist_loss`` on the logits."""

    name = "dist"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        inter_weight: float = 1.0,
        intra_weight: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 0, inter_weight=inter_weight, intra_weight=intra_weight)
        check_positive(self.name, temperature=temperature)
        self.options = (inter_weight, intra_weight, temperature)
        self.read(["out"])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``correlation``."""
        return {"correlation": dist_loss(student["out"], teacher["out"], *self.options)}
