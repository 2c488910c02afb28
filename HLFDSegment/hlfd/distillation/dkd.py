"""Decoupled knowledge distillation: the true class, and the other classes among themselves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.shapes import check_labels, check_pair
from hlfd.errors import ConfigError, InputError

_LEAST_CLASSES = 3
_MASKED = -1e4
"""Added to the true class's logit; its probability is then exactly 0 and its logarithm still finite."""


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
    true = labels.long()[:, None]
    own, other = (_parts(logits.float() / temperature, true) for logits in (student, teacher.detach()))
    scale = temperature**2 / labels.numel()
    divergences = [F.kl_div(p, q, reduction="sum", log_target=True) for p, q in zip(own, other)]
    return scale * (target_weight * divergences[0] + other_weight * divergences[1])


def _parts(logits: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log probabilities of (true class, any other) and of the other classes among themselves."""
    masked = logits.scatter_add(1, true, torch.full_like(true, _MASKED, dtype=logits.dtype))
    pair = torch.cat([logits.gather(1, true), masked.logsumexp(1, keepdim=True)], dim=1)
    return F.log_softmax(pair, dim=1), F.log_softmax(masked, dim=1)


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
