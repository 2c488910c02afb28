"""From settings, a student and a teacher to an objective; everything that can be wrong is said before training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hlfd.distillation.base import Method
from hlfd.distillation.objective import Distillation, SegmentationLoss
from hlfd.distillation.settings import DistillSettings, MethodEntry
from hlfd.distillation.teacher import OnlineTeacher, TeacherSpec, probe_channels, tap_paths
from hlfd.errors import ConfigError
from hlfd.losses import dice_ce_loss, focal_dice_loss
from hlfd.networks.base import SegmentationNetwork

_LOSSES: dict[str, SegmentationLoss] = {"dice_ce": dice_ce_loss, "focal_dice": focal_dice_loss}
_UNKNOWN_DIVISOR = 32


def build_objective(
    settings: DistillSettings,
    student: SegmentationNetwork,
    teacher: nn.Module | TeacherSpec | None = None,
    segmentation: SegmentationLoss | None = None,
    groups: Sequence[Sequence[int]] | None = None,
) -> Distillation:
    """Return the objective that teaches ``student`` as ``settings`` say.

    ``teacher`` is a network that declares ``taps`` (name -> module path), a ``TeacherSpec`` where all its outputs come
    with the batches, or None where no method needs one. ``segmentation`` replaces the loss against the labels that
    the settings name. ``groups`` lists, per class of the student, the channels of the teacher's logits merged into it.
    Raises ``ConfigError`` for wrong taps, classes, channels or parameters. The global random state is left as it is.
    """
    image = _probe_image(student, teacher)
    student_paths = tap_paths(student, "student")
    channels = probe_channels(student, student_paths, image, "student")
    online, teacher_channels = _teacher(teacher, image)
    classes = student.description.classes
    if teacher is not None:
        teacher_channels = _check_classes(teacher_channels, classes, groups)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        methods = [
            (label, entry.weight, _method(entry, channels, teacher_channels, classes, student.description.spatial_dims))
            for label, entry in _labelled(settings.entries())
        ]
    loss = segmentation or _LOSSES[settings.segmentation]
    return Distillation(methods, student_paths, online, loss, settings.segmentation_weight, groups)


def _method(
    entry: MethodEntry, student: Mapping[str, int], teacher: Mapping[str, int], classes: int, spatial_dims: int
) -> Method:
    from hlfd.distillation import METHODS

    try:
        return METHODS[entry.name](student, teacher, classes, spatial_dims, **entry.parameters)
    except (TypeError, ValueError) as error:  # a parameter of the wrong type that the method does not check itself
        raise ConfigError(f"{entry.name}: its parameters {entry.parameters} do not fit: {error}.") from error


def _labelled(entries: Sequence[MethodEntry]) -> list[tuple[str, MethodEntry]]:
    """Name each entry; a method that is there twice gets a number."""
    names = [entry.name for entry in entries]
    return [
        (name if names[:i].count(name) == 0 else f"{name}-{names[:i].count(name) + 1}", entry)
        for i, (name, entry) in enumerate(zip(names, entries))
    ]


def _probe_image(student: SegmentationNetwork, teacher: nn.Module | TeacherSpec | None) -> Tensor:
    """Return the smallest image that both networks take; not a single block, which instance norm would refuse."""
    facts = student.description
    divisor = facts.divisor
    if isinstance(teacher, nn.Module):
        divisor = math.lcm(divisor, int(getattr(teacher, "divisor", _UNKNOWN_DIVISOR)))
    sizes = (2 * divisor, *[divisor] * (facts.spatial_dims - 1))
    return torch.zeros(1, facts.in_channels, *sizes)


def _teacher(teacher: nn.Module | TeacherSpec | None, image: Tensor) -> tuple[OnlineTeacher | None, dict[str, int]]:
    if teacher is None:
        return None, {}
    if isinstance(teacher, TeacherSpec):
        return None, {name: int(count) for name, count in teacher.channels.items()}
    paths = tap_paths(teacher, "teacher")
    return OnlineTeacher(teacher, paths), probe_channels(teacher, paths, image, "teacher")


def _check_classes(channels: dict[str, int], classes: int, groups: Sequence[Sequence[int]] | None) -> dict[str, int]:
    """Return the teacher's channels after merging; refuse a teacher with other classes than the student."""
    found = channels.get("out", classes)
    if groups is None:
        if found != classes:
            raise ConfigError(
                f"The teacher has {found} classes, the student {classes}.",
                "Train both on the same classes, or say with groups which channels of the teacher make each class.",
            )
        return channels
    if len(groups) != classes or sorted(i for group in groups for i in group) != list(range(found)):
        raise ConfigError(
            f"groups is {[list(group) for group in groups]}; {classes} groups that hold each of the teacher's channels "
            f"0..{found - 1} once were expected."
        )
    return {**channels, "out": classes} if "out" in channels else channels
