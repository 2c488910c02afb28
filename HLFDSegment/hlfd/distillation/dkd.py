"""Decoupled knowledge distillation: the true class, and the other classes among themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.divergence import class_rows, row_blocks, shifted_softmax
from hlfd.distillation.shapes import check_labels, check_pair
from hlfd.errors import ConfigError, InputError

_LEAST_CLASSES = 3
_TINY = 1e-30
"""Least probability, so that its logarithm is finite."""


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD), mean over batch and voxels.

    With p = softmax(z/T) and y the true class: TCKD = KL((q_y, 1 - q_y) || (p_y, 1 - p_y)); NCKD = KL of the softmax
    over the classes other than y; q is the teacher's. Logits (B, C, *spatial) of one size, C >= 3, because NCKD is 0
    for two classes; labels integer (B, *spatial). Source: Zhao et al., CVPR 2022, arXiv 2203.08679.
    """
    check_pair(student, teacher, same_channels=True, same_size=True)
    check_labels(student, labels)
    if student.shape[1] < _LEAST_CLASSES:
        raise InputError(f"Logits of {student.shape[1]} classes were given; decoupled distillation needs 3 or more.")
    rows = class_rows(student), class_rows(teacher.detach())
    total = _Decoupled.apply(*rows, labels.reshape(-1, 1).long(), target_weight, other_weight, temperature)
    return total * (temperature**2 / labels.numel())


class _Decoupled(torch.autograd.Function):
    """Sum over rows (voxels, C) of alpha * TCKD + beta * NCKD, with its gradient written out, block by block.

    With p = softmax(s/T), P the sum of p over classes other than y, p' = p / P: T * dTCKD/ds_c = p_y - q_y for c = y,
    else p'_c * (q_y - p_y); T * dNCKD/ds_c = 0 for c = y, else p'_c - q'_c.
    """

    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, true: Tensor, alpha: float, beta: float, temperature: float
    ) -> Tensor:
        gradient = torch.empty(student.shape, dtype=torch.float32, device=student.device)
        total = torch.zeros((), dtype=torch.float64, device=student.device)
        for block in row_blocks(student):
            y = true[block]
            a, p, log_p = shifted_softmax(student[block], temperature)
            b, q, log_q = shifted_softmax(teacher[block], temperature)
            p_true, p_other = _split(p, y)
            q_true, q_other = _split(q, y)
            log_ratio = (q_other / p_other).log()
            target = q_true * (q_true / p_true).log() + q_other * log_ratio
            other = b.sub_(a).mul_(q).sum(1, keepdim=True) + (log_p - log_q) - log_ratio
            total += (alpha * target + beta * other).sum().double()
            rise = q_true - p_true
            rows = p.mul_(beta + alpha * rise).sub_(q, alpha=beta)
            gradient[block] = rows.scatter_(1, y, -alpha * rise)
        ctx.save_for_backward(gradient)
        ctx.temperature, ctx.dtype = temperature, student.dtype
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * (gradients[0] / ctx.temperature)).to(ctx.dtype), None, None, None, None, None


def _split(p: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return p_y and 1 - p_y, both (R, 1), and turn ``p`` into the softmax over the other classes, 0 at y."""
    p_true = p.gather(1, true)
    p.scatter_(1, true, 0.0)
    p_other = p.sum(1, keepdim=True).clamp_(min=_TINY)
    p /= p_other
    return p_true.clamp_(min=_TINY), p_other


class Dkd(Method):
    """``dkd_loss`` on the logits; two classes are refused."""

    name = "dkd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        target_weight: float = 1.0,
        other_weight: float = 8.0,
        temperature: float = 4.0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        if classes < _LEAST_CLASSES:
            raise ConfigError(
                f"dkd was asked for with {classes} classes; its term of the other classes is 0 below 3.", "Use kd."
            )
        check_at_least(self.name, 0, target_weight=target_weight, other_weight=other_weight)
        check_positive(self.name, temperature=temperature)
        self.options = (target_weight, other_weight, temperature)
        self.read(["out"])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``decoupled``."""
        return {"decoupled": dkd_loss(student["out"], teacher["out"], labels, *self.options)}
