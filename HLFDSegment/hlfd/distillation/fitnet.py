"""FitNets: the student's feature maps shall equal the teacher's after a trained projection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlfd.distillation.base import Channels, Features, Method, tap_list
from hlfd.distillation.shapes import check_pair, resize


def fitnet_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """MSE(proj(F_s), F_t), mean over batch, channels and voxels, in float32.

    Both (B, C, *spatial) with the same channels; the student is resized linearly to the teacher's size. Source: Romero
    et al., "FitNets: hints for thin deep nets", ICLR 2015, arXiv 1412.6550.
    """
    check_pair(projected, teacher, same_channels=True)
    return F.mse_loss(resize(projected, teacher.shape[2:]).float(), teacher.detach().float())


class FitNet(Method):
    """``fitnet_loss`` at some taps (the deepest encoder stage unless named), each with its own 1x1 convolution."""

    name = "fitnet"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        taps: Sequence[str] = ("e5",),
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        self.read(tap_list(self.name, taps))
        self.projections = nn.ModuleDict({name: self.projection(student[name], teacher[name]) for name in self.taps[0]})

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term per tap."""
        return {
            name: fitnet_loss(projection(student[name].to(torch.float32)), teacher[name])
            for name, projection in self.projections.items()
        }
