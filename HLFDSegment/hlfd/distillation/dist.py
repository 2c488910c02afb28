"""DIST: correlations of the predictions instead of their exact match."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.collectives import batch_sum
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.shapes import check_pair, resize

_EPSILON = 1e-8
_CONSTANT = 1e-13
"""Sum of squares around the mean below which two rows of probabilities are constant up to rounding."""


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
    p, q = (_rows(logits.float() / temperature) for logits in (student, teacher.detach()))
    inter = 1.0 - _pearson(p, q, 0).mean()
    intra = 1.0 - _pearson(p, q, 1).mean()
    return temperature**2 * (inter_weight * inter + intra_weight * intra)


def _rows(logits: Tensor) -> Tensor:
    """Return the softmax of (B, C, *spatial) as (C, voxels of the batch)."""
    return F.softmax(logits, dim=1).transpose(0, 1).flatten(1)


def _pearson(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Return the correlations along ``dim``: 0 over classes, 1 over the voxels of the whole batch."""

    def add(x: Tensor) -> Tensor:
        return batch_sum(x) if dim == 1 else x

    count = add(torch.tensor(float(a.shape[dim]), device=a.device))
    a, b = (x - add(x.sum(dim, keepdim=True)) / count for x in (a, b))
    squares_a, squares_b, product = add(torch.stack([x.sum(dim) for x in (a.square(), b.square(), a * b)]))
    rho = product / (squares_a * squares_b).clamp(min=_EPSILON**2).sqrt()
    return torch.where(squares_a + squares_b < _CONSTANT, torch.ones_like(rho), rho)


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
