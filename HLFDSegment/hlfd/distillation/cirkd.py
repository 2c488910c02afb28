"""Cross-image relational distillation: similarities of voxels across the images of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.collectives import batch_cat
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.shapes import check_pair, pool
from hlfd.distillation.skd import node_grid


def cirkd_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0, nodes: int = 8) -> Tensor:
    """Mean over image pairs (a, b) and rows i of KL(softmax_j(T_ab[i, j]/tau) || softmax_j(S_ab[i, j]/tau)).

    S_ab and T_ab hold the cosines of the features of every voxel of image a with every voxel of image b, a = b
    included. Feature maps (B, C, *spatial) with channels of their own are averaged to at most ``nodes`` voxels along
    each axis. Source: the mini-batch pixel-to-pixel term of Yang et al., CVPR 2022, arXiv 2204.06986 (its memory-bank
    terms are left out).
    """
    check_pair(student, teacher)
    size = node_grid(student, teacher, nodes)
    log_p, log_q = (_relations(batch_cat(pool(x, size)), temperature) for x in (student, teacher.detach()))
    divergence = F.kl_div(log_p, log_q, reduction="sum", log_target=True)
    return divergence * (log_p.shape[-1] / log_p.numel())


def _relations(x: Tensor, temperature: float) -> Tensor:
    """Return the log softmax of similarities, (images, images, voxels, voxels)."""
    unit = F.normalize(x.float().flatten(2), dim=1)
    return F.log_softmax(torch.einsum("acm,bcn->abmn", unit, unit) / temperature, dim=3)


class Cirkd(Method):
    """``cirkd_loss`` at one tap."""

    name = "cirkd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        tap: str = "d4",
        temperature: float = 1.0,
        nodes: int = 8,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 1, nodes=nodes)
        check_positive(self.name, temperature=temperature)
        self.tap, self.temperature, self.nodes = tap, temperature, int(nodes)
        self.read([tap])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``relations``."""
        loss = cirkd_loss(student[self.tap], teacher[self.tap], self.temperature, self.nodes)
        return {"relations": loss}
