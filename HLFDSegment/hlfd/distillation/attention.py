"""Attention maps of feature maps, the importance map losses made of them, and attention transfer (``at``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.distillation.base import Channels, Features, Method, check_at_least, tap_list
from hlfd.distillation.shapes import check_pair, resize, smallest_size
from hlfd.errors import InputError

_EPSILON = 1e-12
_CHANNELS_AT_ONCE = 32


def attention_map(x: Tensor, power: float = 4) -> Tensor:
    """A(x) = vec(mean_c x^p) / ||vec(mean_c x^p)||_2 of (B, C, *spatial), as (B, N) with N voxels, in float32.

    The norm is at least 1e-12. Sources: Zagoruyko and Komodakis, ICLR 2017 (p = 2); Qin et al., IEEE TMI 2021 (p = 4).
    """
    return F.normalize(_energy(x, power).flatten(1), dim=1, eps=_EPSILON)


def _energy(x: Tensor, power: float) -> Tensor:
    """Return mean_c x^p as (B, *spatial) in float32."""
    return _raised(x.float(), power).mean(1)


def _raised(x: Tensor, power: float) -> Tensor:
    # Products, because pow with any exponent but 2 and 3 costs ten times as much on a CPU.
    if power == 2:
        return x.square()
    return x.square().square() if power == 4 else x.pow(power)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(1).mean()


def importance_map_loss(student: Tensor, teacher: Tensor, power: float = 4) -> Tensor:
    """IMD(s, t) = mean_b sum_i (A(R_t(s)) - A(t))_i^2, from 0 to 2.

    Feature maps (B, C, *spatial) with channels of their own; the student is resized linearly to the teacher's size.
    Not changed by a scaling of either. Source: Qin et al., IEEE TMI 2021, arXiv 2108.09987.
    """
    check_pair(student, teacher)
    student = resize(student, teacher.shape[2:])
    return _distance(attention_map(student, power), attention_map(teacher.detach(), power))


def fused_importance_map_loss(
    student: Tensor, teachers: Sequence[Tensor], power: float = 4, normalise: bool = False
) -> Tensor:
    """IMD_U(s, {t_k}) = mean_b sum_i (A(s) - A(R_s(U)))_i^2.

    U: the teacher's maps, resized linearly to the smallest spatial size among them and joined along channels. With
    ``normalise``, U is the mean over k of the maps A(t_k) at that size instead, so that no layer outweighs the others
    by the size of its activations, and A(R_s(U)) is R_s(U) scaled to norm 1. Source: Gorade et al., ISBI 2024, arXiv
    2311.16700; ``normalise`` is ours.
    """
    if not teachers:
        raise InputError("There are no teacher maps to fuse; at least one was expected.")
    for teacher in teachers:
        check_pair(student, teacher)
    with torch.no_grad():
        size = smallest_size(teachers)
        maps = [resize(teacher.detach().float(), size) for teacher in teachers]
        target = _normalised_fusion(maps, student, power) if normalise else _fusion(maps, student, power)
        target = F.normalize(target.flatten(1), dim=1, eps=_EPSILON)
    return _distance(attention_map(student, power), target)


def _normalised_fusion(maps: Sequence[Tensor], student: Tensor, power: float) -> Tensor:
    shape = (len(student), 1, *maps[0].shape[2:])
    fused = torch.stack([attention_map(x, power).view(shape) for x in maps]).mean(0)
    return resize(fused, student.shape[2:])


def _fusion(maps: Sequence[Tensor], student: Tensor, power: float) -> Tensor:
    """Return mean_c R_s(U)^p, some channels at a time: U at the student's resolution can be hundreds of megabytes."""
    energy = student.new_zeros((len(student), *student.shape[2:]), dtype=torch.float32)
    for x in maps:
        for part in x.split(_CHANNELS_AT_ONCE, dim=1):
            energy += _raised(resize(part, student.shape[2:]), power).sum(1)
    return energy / sum(x.shape[1] for x in maps)


def at_loss(student: Tensor, teacher: Tensor, power: float = 2) -> Tensor:
    """||Q_s/||Q_s|| - Q_t/||Q_t|| ||^2, mean over the batch, with Q = sum_c |x|^p.

    Feature maps (B, C, *spatial); the student is resized linearly to the teacher's size. Source: Zagoruyko and
    Komodakis, "Paying more attention to attention", ICLR 2017, arXiv 1612.03928.
    """
    if power % 2:  # an even power needs no absolute value
        student, teacher = student.abs(), teacher.abs()
    return importance_map_loss(student, teacher, power)


class At(Method):
    """Attention transfer: the sum of ``at_loss`` over some taps."""

    name = "at"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        taps: Sequence[str] = ("e2", "e3", "e4", "e5"),
        power: float = 2,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 1, power=power)
        self.power = power
        self.read(tap_list(self.name, taps))

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term ``attention``."""
        losses = [at_loss(student[name], teacher[name], self.power) for name in self.taps[0]]
        return {"attention": torch.stack(losses).sum()}
