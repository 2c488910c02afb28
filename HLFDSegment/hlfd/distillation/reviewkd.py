"""ReviewKD: deep stages of the student help shallow ones to match the teacher, on a pyramid of scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlfd.distillation.base import Channels, Features, Method, check_at_least, convolution, tap_list
from hlfd.distillation.shapes import check_pair, pool, resize

_LEVELS = (4, 2, 1)


def hcl_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss: MSE at full size and, with weights 1/2, 1/4, 1/8, averaged to 4, 2 and 1 per axis.

    Divided by the sum of the weights; levels not below the smallest axis are left out. Both (B, C, *spatial) with the
    same channels; the student is resized linearly to the teacher's size. Source: Chen et al., "Distilling knowledge
    via knowledge review", CVPR 2021, arXiv 2104.09044.
    """
    check_pair(student, teacher, same_channels=True)
    teacher = teacher.detach().float()
    student = resize(student, teacher.shape[2:]).float()
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for level in _LEVELS:
        if level < min(teacher.shape[2:]):
            weight /= 2
            size = (level,) * (teacher.ndim - 2)
            loss = loss + weight * F.mse_loss(pool(student, size), pool(teacher, size))
            total += weight
    return loss / total


def reviewkd_loss(students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
    """Sum of ``hcl_loss`` over stages."""
    return torch.stack([hcl_loss(s, t) for s, t in zip(students, teachers)]).sum()


class AttentionFusion(nn.Module):
    """Attention-based fusion (ABF): a stage of the student, mixed with what comes from the deeper stage.

    x = conv1x1(stage); with a deeper map y, resized by the nearest value: x <- x * a + y * b, (a, b) = sigmoid of a 1x1
    convolution of both. Returns conv3x3(x), with the teacher's channels, and x for the shallower stage.
    """

    def __init__(self, spatial_dims: int, channels: int, middle: int, channels_out: int, deepest: bool) -> None:
        super().__init__()
        norm: type[nn.Module] = nn.BatchNorm3d if spatial_dims == 3 else nn.BatchNorm2d
        self.enter = nn.Sequential(convolution(spatial_dims, channels, middle, bias=False), norm(middle))
        self.leave = nn.Sequential(
            convolution(spatial_dims, middle, channels_out, kernel=3, bias=False), norm(channels_out)
        )
        self.attention = None if deepest else convolution(spatial_dims, 2 * middle, 2)

    def forward(self, x: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the map to compare with the teacher and the one to hand on."""
        x = self.enter(x)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, size=x.shape[2:], mode="nearest")
            own, other = torch.sigmoid(self.attention(torch.cat([x, deeper], dim=1))).split(1, dim=1)
            x = x * own + deeper * other
        return self.leave(x), x


class ReviewKd(Method):
    """The student's stages are fused from deep to shallow (ABF) and compared with the teacher's (HCL)."""

    name = "reviewkd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        taps: Sequence[str] = ("e3", "e4", "e5"),
        middle_channels: int = 64,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 1, middle_channels=middle_channels)
        self.read(tap_list(self.name, taps))
        deep_to_shallow = list(reversed(self.taps[0]))
        self.fusions = nn.ModuleDict(
            {
                name: AttentionFusion(spatial_dims, student[name], middle_channels, teacher[name], index == 0)
                for index, name in enumerate(deep_to_shallow)
            }
        )

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``review``."""
        compared: list[Tensor] = []
        deeper: Tensor | None = None
        for name, fusion in self.fusions.items():
            matched, deeper = fusion(student[name].to(torch.float32), deeper)
            compared.append(matched)
        return {"review": reviewkd_loss(compared, [teacher[name] for name in self.fusions])}
