"""A teacher made to fit a student: its input from the student's, its logits in the student's classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from hlfd.errors import ConfigError, GeometryError
from hlfd.features import FeatureTap
from hlfd.networks.base import NetworkDescription, SegmentationNetwork
from hlfd.networks.merge import merge_logits
from hlfd.teachers.axes import AxisPlan
from hlfd.teachers.inputs import channel_sources, convert_channels, is_unchanged
from hlfd.teachers.teacher import Teacher

SPACING_TOLERANCE = 0.05
"""Spacings that differ by less than this share are taken as one."""


class ClassMap(nn.Module):
    """Logits of groups of the teacher's channels: reordered, and merged by logsumexp where a group has several."""

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.groups = tuple(tuple(group) for group in groups)
        self.unchanged = self.groups == tuple((n,) for n in range(len(self.groups)))

    def forward(self, logits: Tensor) -> Tensor:
        """Return (B, groups, *spatial) of (B, channels, *spatial)."""
        return logits if self.unchanged else merge_logits(logits, self.groups)


class FittedTeacher(SegmentationNetwork):
    """A teacher that takes the student's input and gives logits of the student's classes, for ``FeatureTap``.

    Its taps are those of the teacher along the student's axes; ``out`` are the logits in the student's classes. It
    stays in eval mode and its parameters want no gradient. Made by ``fit_teacher``.
    """

    def __init__(
        self,
        teacher: Teacher,
        windows: Sequence[Sequence[float]],
        groups: Sequence[Sequence[int]],
        ratio: Sequence[float],
    ) -> None:
        taps = {name: path for name, path in teacher.taps.items() if name != "out"}
        super().__init__(
            NetworkDescription(
                in_channels=len(windows),
                classes=len(groups),
                spatial_dims=teacher.spatial_dims,
                divisor=teacher.divisor if all(value == 1 for value in ratio) else 1,
                receptive_field=0,  # not known of a foreign network
                taps={**{name: f"tapped.{name}" for name in taps}, "out": "class_map"},
            )
        )
        self.network = teacher.module
        self.tapped = nn.ModuleDict({name: nn.Identity() for name in taps})
        self.class_map = ClassMap(groups)
        self._teacher = teacher
        self._paths = taps
        self._axes = AxisPlan.of(teacher.orientation, teacher.spatial_dims)
        self._windows = tuple((float(low), float(high)) for low, high in windows)
        self._sources = channel_sources(teacher.inputs, self._windows)
        self._unchanged = is_unchanged(self._windows, teacher.inputs)
        self._ratio = tuple(ratio)
        self.requires_grad_(False)
        self.eval()

    @property
    def own_taps(self) -> dict[str, str] | None:
        """Paths of the teacher's own layers, with gradients; None where its axes are not the student's."""
        if not self._axes.unchanged:
            return None
        return {name: f"network.{path}" for name, path in self._paths.items()}

    def train(self, mode: bool = True) -> FittedTeacher:
        """Stay in eval mode, whatever the network around it does."""
        super().train(False)
        return self

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits in the student's classes of a checked student input."""
        size = tuple(image.shape[2:])
        own = image
        if not self._unchanged:
            own = convert_channels(image, self._windows, self._teacher.inputs, self._sources)
        own = self._resized(own, self._sizes(size))
        # Taps inside the network are along its own axes, so they are passed on along the student's.
        with FeatureTap(self.network, self._paths) as features:
            found = self.network(self._axes.forward(own))
        for name, tap in self.tapped.items():
            self._pass_on(tap, features.get(name))
        logits = self._resized(self._axes.back(self._checked(found, own)), size)
        mapped: Tensor = self.class_map(logits)
        return mapped

    def _pass_on(self, tap: nn.Module, feature: Tensor | None) -> None:
        if feature is not None:
            tap(self._axes.back(feature) if feature.ndim == len(self._axes.order) + 2 else feature)

    def _sizes(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the patch size at the teacher's spacing, a multiple of its divisor."""
        if all(value == 1 for value in self._ratio):
            return size
        blocks = [max(1, round(n * ratio / self._teacher.divisor)) for n, ratio in zip(size, self._ratio)]
        if max(blocks) == 1:
            blocks[0] = 2  # instance norm refuses a single voxel at the deepest stage
        return tuple(n * self._teacher.divisor for n in blocks)

    def _resized(self, tensor: Tensor, size: tuple[int, ...]) -> Tensor:
        if tuple(tensor.shape[2:]) == size:
            return tensor
        mode = "trilinear" if len(size) == 3 else "bilinear"
        return F.interpolate(tensor, size=size, mode=mode, align_corners=False)

    def _checked(self, logits: Tensor, image: Tensor) -> Tensor:
        if not isinstance(logits, Tensor):
            raise ConfigError(
                f"The teacher ({self._teacher.origin}) returns {type(logits).__name__}; one tensor of logits was "
                "expected.",
                "Name a builder that returns the logits alone.",
            )
        expected = (image.shape[0], len(self._teacher.classes), *self._axes.forward(image).shape[2:])
        if tuple(logits.shape) != expected:
            raise GeometryError(
                f"The teacher ({self._teacher.origin}) returned logits of shape {tuple(logits.shape)} for a patch of "
                f"{tuple(image.shape[2:])}; {expected} was expected.",
                "Correct the classes stated for it, or use patches that are a multiple of its strides.",
            )
        return logits


def fit_teacher(
    teacher: Teacher,
    classes: Sequence[str],
    windows: Sequence[Sequence[float]],
    spacing_mm: float | Sequence[float],
    spatial_dims: int = 3,
) -> FittedTeacher:
    """Return the teacher as a network on the student's input: ``windows`` mapped to -1..1, at ``spacing_mm``.

    ``classes`` are those of the student's logits, ``spacing_mm`` is one number or one per axis (k, j, i). Raises
    ``ConfigError`` that names the mismatch and its remedy for other dimensions, classes, spacing or windows than the
    student's, and for facts of the teacher that nobody stated.
    """
    if teacher.spatial_dims != spatial_dims:
        raise ConfigError(
            f"The teacher ({teacher.origin}) is {teacher.spatial_dims}-D, the student {spatial_dims}-D.",
            "Choose networks of the same dimension.",
        )
    for name, value in (("classes", teacher.classes), ("spacing_mm", teacher.spacing_mm), ("windows", teacher.inputs)):
        if not value:
            raise ConfigError(f"The {name} of the teacher ({teacher.origin}) are not known.", f"State {name} for it.")
    return FittedTeacher(teacher, windows, class_groups(teacher, classes), spacing_ratio(teacher, spacing_mm))


def class_groups(teacher: Teacher, classes: Sequence[str]) -> list[list[int]]:
    """Return per class of the student the teacher's channels that make it up; each channel belongs to one class."""
    merge, known = dict(teacher.merge or {}), list(teacher.classes)
    wrong = [name for name in merge if name not in classes]
    wrong += [name for names in merge.values() for name in names if name not in known]
    if wrong:
        raise ConfigError(
            f"merge names {wrong}; the student's classes are {list(classes)}, the teacher's {known}.",
            "Correct merge: class of the student to classes of the teacher.",
        )
    members = {name: list(merge.get(name, [name] if name in known else [])) for name in classes}
    lacking = [name for name, names in members.items() if not names]
    used = [name for names in members.values() for name in names]
    unused = [name for name in known if name not in used]
    if lacking or unused or len(set(used)) != len(used):
        raise ConfigError(
            f"The teacher ({teacher.origin}) has the classes {known}, the student {list(classes)}: "
            + (f"{lacking} of the student have no counterpart, " if lacking else "")
            + (f"{unused} of the teacher have none, " if unused else "")
            + "but each class must belong to exactly one of the other.",
            "State under merge, per class of the student, which classes of the teacher make it up.",
        )
    return [[known.index(name) for name in members[name_of]] for name_of in classes]


def spacing_ratio(teacher: Teacher, spacing_mm: float | Sequence[float]) -> tuple[float, ...]:
    """Return per axis of the student how many teacher voxels make a student voxel: all 1 where the spacings agree."""
    dims = teacher.spatial_dims
    own = (float(spacing_mm),) * dims if isinstance(spacing_mm, (int, float)) else tuple(float(v) for v in spacing_mm)
    if len(own) != dims:
        raise ConfigError(f"The student's spacing has {len(own)} numbers; one, or {dims} were expected.")
    theirs = AxisPlan.of(teacher.orientation, dims).along_student(teacher.spacing_mm)
    ratio = tuple(a / b for a, b in zip(own, theirs))
    if all(abs(value - 1) <= SPACING_TOLERANCE for value in ratio):
        return (1.0,) * dims
    if not teacher.resample:
        raise ConfigError(
            f"The teacher ({teacher.origin}) works at {_mm(theirs)} mm, the student at {_mm(own)} mm.",
            "Train the student at the teacher's spacing, or set resample: true for the teacher, which costs detail.",
        )
    return ratio


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in spacing)
