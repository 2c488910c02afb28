"""Knowledge distillation on the logits of every voxel, and the prediction map loss of EMKD, which is the same."""

from __future__ import annotations

from torch import Tensor

from hlfd.distillation.base import Channels, Features, Method, check_positive
from hlfd.distillation.divergence import class_rows, softmax_divergence
from hlfd.distillation.shapes import check_pair, resize


def prediction_map_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T^2 * KL(softmax(t/T) || softmax(s/T)) over the channels, mean over batch and voxels.

    Both are logits (B, C, *spatial); a student of another spatial size is resized linearly to the teacher's. The
    teacher gets no gradient. Computed in float32. Source: Hinton et al., arXiv 1503.02531; as PMD in Qin et al., IEEE
    TMI 2021, arXiv 2108.09987.
    """
    check_pair(student, teacher, same_channels=True)
    student = resize(student, teacher.shape[2:])
    divergence = softmax_divergence(class_rows(student), class_rows(teacher), temperature)
    return divergence * (temperature**2 * teacher.shape[1] / teacher.numel())


class Kd(Method):
    """Hinton's distillation of the logits: one term, ``kd``."""

    name = "kd"

    def __init__(
        self, student: Channels, teacher: Channels, classes: int, spatial_dims: int, temperature: float = 4.0
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_positive(self.name, temperature=temperature)
        self.temperature = temperature
        self.read(["out"])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return the divergence of the predictions."""
        return {"kd": prediction_map_loss(student["out"], teacher["out"], self.temperature)}
