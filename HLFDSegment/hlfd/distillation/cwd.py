"""Channel-wise distillation: where in space each channel is active."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hlfd.distillation.base import Channels, Features, Method, check_positive, tap_list
from hlfd.distillation.divergence import softmax_divergence
from hlfd.distillation.shapes import check_pair, resize


def cwd_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2/C * sum_c KL(softmax_i(t_c/T) || softmax_i(s_c/T)), softmax over a channel's voxels i, mean over the batch.

    Maps or logits (B, C, *spatial) with the same channels; the student is resized linearly to the teacher's size.
    Source: Shu et al., "Channel-wise knowledge distillation for dense prediction", ICCV 2021, arXiv 2011.13256.
    """
    check_pair(student, teacher, same_channels=True)
    student = resize(student, teacher.shape[2:])
    own, other = (x.flatten(2).flatten(0, 1) for x in (student, teacher))
    divergence = softmax_divergence(own, other, temperature)
    return divergence * (temperature**2 / (teacher.shape[0] * teacher.shape[1]))


class Cwd(Method):
    """``cwd_loss`` on the logits (tap ``out``) or on feature maps, whose channels a trained 1x1 convolution matches."""

    name = "cwd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        taps: Sequence[str] = ("out",),
        temperature: float = 4.0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.read(tap_list(self.name, taps))
        features = [name for name in self.taps[0] if name != "out"]
        self.projections = nn.ModuleDict({name: self.projection(student[name], teacher[name]) for name in features})

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term per tap."""
        return {name: cwd_loss(self._map(student, name), teacher[name], self.temperature) for name in self.taps[0]}

    def _map(self, student: Features, name: str) -> Tensor:
        if name == "out":
            return student[name]
        projected: Tensor = self.projections[name](student[name].to(torch.float32))
        return projected
