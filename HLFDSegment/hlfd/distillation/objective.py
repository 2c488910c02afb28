"""Distillation as an objective of the training loop: labels and any number of weighted methods at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from hlfd.distillation.base import Method
from hlfd.distillation.teacher import CACHED, OnlineTeacher, require
from hlfd.errors import ConfigError
from hlfd.features import FeatureTap
from hlfd.losses import label_loss
from hlfd.networks.merge import merge_logits

SegmentationLoss = Callable[..., Tensor]
"""A loss of logits (B, C, *spatial) and labels (B, *spatial), and of ``voxel_weights`` where the batches have any."""


class Distillation(nn.Module):
    """The segmentation loss and the terms of all methods; ``state_dict`` holds the methods' projections alone.

    The student runs with a ``FeatureTap``. What the methods read of the teacher is taken from the batch where it holds
    ``teacher/<tap>`` for all of it; otherwise the online teacher runs. ``groups`` lists, per class of the student, the
    channels of the teacher's logits merged into it (``merge_logits``), where the two differ. Where the batch holds
    ``guided`` (B,) bool, the methods see those patches alone; the labels count for all.
    """

    def __init__(
        self,
        methods: Sequence[tuple[str, float, Method]],
        student_paths: Mapping[str, str],
        teacher: OnlineTeacher | None,
        segmentation: SegmentationLoss,
        segmentation_weight: float = 1.0,
        groups: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.methods = nn.ModuleDict({label: method for label, _, method in methods})
        self._weights = {label: weight for label, weight, _ in methods}
        self._segmentation, self._segmentation_weight = segmentation, segmentation_weight
        self._groups = groups
        self.teacher = teacher
        taps = [method.taps for _, _, method in methods]
        self.student_taps = tuple(dict.fromkeys(name for names, _ in taps for name in names))
        """Names of the student's taps that are read."""
        self.teacher_taps = tuple(dict.fromkeys(name for _, names in taps for name in names))
        """Names of the teacher's taps that are read: what a cache of teacher outputs must hold."""
        self._paths = {name: student_paths[name] for name in self.student_taps}

    def forward(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the student on ``batch["image"]`` and return its logits and all loss terms, weighted and named.

        The terms are ``segmentation`` and ``<method>/<term>``. Raises ``ConfigError`` when teacher outputs are missing
        or a tap carries no gradient.
        """
        with FeatureTap(network, self._paths) as features:
            logits = network(batch["image"])
        student = require(features, self.student_taps, "student")
        _check_gradient(student, logits)
        loss = label_loss(self._segmentation, logits, batch)
        terms = {"segmentation": self._segmentation_weight * loss}
        if "guided" in batch:
            guided = batch["guided"]
            if not guided.any():
                return logits, terms
            batch = {name: tensor[guided] for name, tensor in batch.items()}
            student = {name: feature[guided] for name, feature in student.items()}
        teacher = self._teacher_outputs(batch)
        with torch.autocast(logits.device.type, enabled=False):
            for label, method in self.methods.items():
                found = method(student, teacher, batch["label"])
                terms |= {f"{label}/{term}": self._weights[label] * value for term, value in found.items()}
        return logits, terms

    def _teacher_outputs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = self.teacher_taps
        cached = {name: batch[CACHED + name] for name in names if CACHED + name in batch}
        if len(cached) == len(names):
            outputs = {name: tensor.detach() for name, tensor in cached.items()}
        elif self.teacher is not None:
            outputs = self.teacher.outputs(batch["image"], names)
        else:
            missing = [CACHED + name for name in names if name not in cached]
            raise ConfigError(
                f"The batch lacks {', '.join(missing)} and there is no online teacher.",
                "Cache these taps of the teacher, or give the teacher itself.",
            )
        if self._groups is not None and "out" in outputs:
            outputs["out"] = merge_logits(outputs["out"].float(), self._groups)
        return outputs


def _check_gradient(student: Mapping[str, Tensor], logits: Tensor) -> None:
    """Refuse taps that would silently teach nothing."""
    for name, feature in student.items():
        if logits.requires_grad and not feature.requires_grad:
            raise ConfigError(
                f'The student\'s tap "{name}" carries no gradient.',
                "If it lies inside torch.utils.checkpoint, use use_reentrant=False; else choose a trained module.",
            )
