"""EMKD: prediction maps, importance maps, and affinities of regions."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.distillation.attention import importance_map_loss
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.kd import prediction_map_loss
from hlfd.distillation.shapes import check_labels, check_pair, resize_labels


def region_affinity_loss(student: Tensor, teacher: Tensor, labels: Tensor, classes: int | None = None) -> Tensor:
    """RAD = mean_b (V(s) - V(t))^2 with V(x) = cos(R_0, R_1), for every pair of classes, mean over pairs.

    R_0 = sum(x * m_0) / sum(m_0) and, for the other classes, R_k = sum(x * m_k) / (sum(m_k) + 1): the mean feature
    vectors of the regions. ``labels`` (B, *spatial) holds integer classes and is resized by the nearest value to each
    of the feature maps (B, C, *spatial), whose channels and sizes may differ. ``classes`` is their number, 0 included;
    by default the largest label plus one, at least 2. A region that is empty has R = 0 and cosine 0. Not changed by a
    permutation of channels. Source: Qin et al., IEEE TMI 2021, arXiv 2108.09987, which has two classes; all pairs of
    more are ours.
    """
    check_pair(student, teacher)
    check_labels(student, labels)
    if classes is None:
        classes = max(int(labels.max()) + 1, 2)
    own = _affinities(student, labels, classes)
    return (own - _affinities(teacher.detach(), labels, classes)).square().mean()


def _affinities(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the cosines of the mean feature vectors of all pairs of classes, (B, pairs)."""
    means = region_means(x, resize_labels(labels, x.shape[2:]), classes)
    pairs = torch.tensor(list(itertools.combinations(range(classes), 2)), device=x.device)
    return F.cosine_similarity(means[:, pairs[:, 0]], means[:, pairs[:, 1]], dim=2)


def region_means(x: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return R_0 .. R_(classes-1) of (B, C, *spatial) as (B, classes, C), in float32."""
    masks = F.one_hot(labels.flatten(1), classes).to(torch.float32)  # (B, N, classes)
    sums = torch.einsum("bnk,bcn->bkc", masks, x.float().flatten(2))
    counts = masks.sum(1)
    counts[:, 0].clamp_(min=1)  # an empty background has the sum 0
    counts[:, 1:] += 1
    return sums / counts[:, :, None]


class Emkd(Method):
    """0.1 * PMD(out) + 0.9 * [IMD(low) + IMD(high)] + 0.9 * [RAD(low) + RAD(high)].

    ``low`` and ``high`` name taps of both networks; ``teacher_low`` and ``teacher_high`` those of the teacher where
    they are others.
    """

    name = "emkd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        low: str = "e2",
        high: str = "e5",
        teacher_low: str = "",
        teacher_high: str = "",
        prediction_weight: float = 0.1,
        importance_weight: float = 0.9,
        affinity_weight: float = 0.9,
        temperature: float = 4.0,
        power: float = 4,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        weights = {"prediction_weight": prediction_weight, "importance_weight": importance_weight}
        check_at_least(self.name, 0, **weights, affinity_weight=affinity_weight)
        check_positive(self.name, temperature=temperature, power=power)
        self.weights = (prediction_weight, importance_weight, affinity_weight)
        self.levels = ((low, teacher_low or low), (high, teacher_high or high))
        self.temperature, self.power = temperature, power
        self.read([*(own for own, _ in self.levels), "out"], [*(other for _, other in self.levels), "out"])

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms ``prediction``, ``importance`` and ``affinity``."""
        prediction = prediction_map_loss(student["out"], teacher["out"], self.temperature)
        pairs = [(student[own], teacher[other]) for own, other in self.levels]
        importance = torch.stack([importance_map_loss(s, t, self.power) for s, t in pairs]).sum()
        affinity = torch.stack([region_affinity_loss(s, t, labels, self.classes) for s, t in pairs]).sum()
        names = ("prediction", "importance", "affinity")
        return {n: w * term for n, w, term in zip(names, self.weights, (prediction, importance, affinity))}
