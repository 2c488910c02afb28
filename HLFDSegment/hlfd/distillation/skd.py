"""Structured knowledge distillation: predictions, and similarities of all pairs of pooled regions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.distillation.base import Channels, Features, Method, check_at_least
from hlfd.distillation.kd import prediction_map_loss
from hlfd.distillation.shapes import check_pair, pool


def skd_loss(student: Tensor, teacher: Tensor, nodes: int = 4) -> Tensor:
    """Mean over image and pairs (i, j) of (cos(s_i, s_j) - cos(t_i, t_j))^2 over average-pooled nodes.

    Feature maps (B, C, *spatial) with channels of their own are averaged to at most ``nodes`` nodes along each axis.
    Source: Liu et al., "Structured knowledge distillation for semantic segmentation", CVPR 2019, arXiv 1903.04197.
    """
    check_pair(student, teacher)
    size = node_grid(student, teacher, nodes)
    return F.mse_loss(_similarities(pool(student, size)), _similarities(pool(teacher.detach(), size)))


def node_grid(student: Tensor, teacher: Tensor, nodes: int) -> tuple[int, ...]:
    """Return a grid of at most ``nodes`` per axis that is no finer than either feature map."""
    return tuple(min(nodes, a, b) for a, b in zip(student.shape[2:], teacher.shape[2:]))


def _similarities(x: Tensor) -> Tensor:
    unit = F.normalize(x.float().flatten(2), dim=1)
    return torch.einsum("bcm,bcn->bmn", unit, unit)


class Skd(Method):
    """10 * pixel-wise KL (T = 1) + pairwise similarities, the published weights; without the adversarial term."""

    name = "skd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        tap: str = "e5",
        nodes: int = 4,
        pixel_weight: float = 10.0,
        pair_weight: float = 1.0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 1, nodes=nodes)
        check_at_least(self.name, 0, pixel_weight=pixel_weight, pair_weight=pair_weight)
        self.tap, self.nodes = tap, int(nodes)
        self.pixel_weight, self.pair_weight = pixel_weight, pair_weight
        self.read([tap, "out"])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms ``pixels`` and ``pairs``."""
        pixels = prediction_map_loss(student["out"], teacher["out"], temperature=1.0)
        pairs = skd_loss(student[self.tap], teacher[self.tap], self.nodes)
        return {"pixels": self.pixel_weight * pixels, "pairs": self.pair_weight * pairs}
