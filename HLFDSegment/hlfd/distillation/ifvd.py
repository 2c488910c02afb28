"""IFVD: how much the voxels of a class vary around the class's mean."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.distillation.base import Channels, Features, Method
from hlfd.distillation.shapes import check_labels, check_pair, resize, resize_labels

_EPSILON = 1e-6


def ifvd_loss(student: Tensor, teacher: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean over voxels of (M_s - M_t)^2, M(i) = cos(F(i), mean of F over the voxels of the class of i).

    Feature maps (B, C, *spatial) with channels of their own; the student is resized linearly to the teacher's size and
    the integer labels (B, *spatial), 0 .. ``classes`` - 1, by the nearest value. Means are per image. Source: Wang et
    al., "Intra-class feature variation distillation for semantic segmentation", ECCV 2020.
    """
    check_pair(student, teacher)
    check_labels(student, labels)
    small = resize_labels(labels, teacher.shape[2:])
    own = variation_map(resize(student, teacher.shape[2:]), small, classes)
    return F.mse_loss(own, variation_map(teacher.detach(), small, classes))


def variation_map(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the cosine (B, N) of every voxel's features with the mean of its class, in float32."""
    flat = x.float().flatten(2)
    true = labels.flatten(1)
    masks = F.one_hot(true, classes).to(torch.float32)  # (B, N, classes)
    sums = torch.einsum("bnk,bcn->bkc", masks, flat)
    means = sums / (masks.sum(1)[:, :, None] + _EPSILON)
    # All cosines by one product of matrices, of which each voxel takes its own class's.
    cosines = torch.einsum("bcn,bkc->bkn", F.normalize(flat, dim=1), F.normalize(means, dim=2))
    return cosines.gather(1, true[:, None])[:, 0]


class Ifvd(Method):
    """``ifvd_loss`` at one tap, with the published weight of 200 (the term itself is of the order of 0.01)."""

    name = "ifvd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        tap: str = "d4",
        scale: float = 200.0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        self.tap, self.scale = tap, scale
        self.read([tap])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``variation``."""
        return {"variation": self.scale * ifvd_loss(student[self.tap], teacher[self.tap], labels, self.classes)}
