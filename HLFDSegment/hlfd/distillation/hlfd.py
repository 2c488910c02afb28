"""HLFD: middle layers of the teacher guide the student's early ones, its final layers the intermediate ones.

``hlfd-released`` computes what the released code of the paper computes. ``hlfd`` is our correction of it; every part of
both can be switched. Source: Gorade, Mittal, Jha, Bagci, "Rethinking Intermediate Layers design in Knowledge
Distillation for Kidney and Liver Tumor Segmentation", ISBI 2024, arXiv 2311.16700.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.config import look_up
from hlfd.distillation.attention import fused_importance_map_loss, importance_map_loss
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive
from hlfd.distillation.cwd import cwd_loss
from hlfd.distillation.dist import dist_loss
from hlfd.distillation.divergence import class_softmax
from hlfd.distillation.kd import prediction_map_loss
from hlfd.distillation.projections import Project, RandomProjections, TrainedProjections
from hlfd.distillation.shapes import pool, resize, smallest_size
from hlfd.errors import ConfigError, InputError

FEATURE_UNIFIED = ("e1", ("e2", "e3", "e4"))
FEATURE_INDIVIDUAL = (("e2", "e3", "e4"), "e5")
PIXEL_UNIFIED = ("d5", ("d5", "d4", "d3"))
PIXEL_INDIVIDUAL = (("d4", "d3", "d2"), "out")
"""Which of the student's taps (first) learns from which of the teacher's (second)."""
LOGITS_TERMS = ("none", "kd", "cwd", "dist")


def feature_feedback_loss(student: Features, teacher: Features, power: float = 4, normalise: bool = False) -> Tensor:
    """FLFD = 0.5 * IMD_U(s_e1, {t_e2, t_e3, t_e4}) + 0.5 * [IMD(s_e2, t_e5) + IMD(s_e3, t_e5) + IMD(s_e4, t_e5)].

    Both map tap names to feature maps (B, C, *spatial): e1..e4 of the student, e2..e5 of the teacher. ``normalise``
    fuses normalised maps (see ``fused_importance_map_loss``).
    """
    unified = feature_feedback_unified(student, teacher, power, normalise)
    return 0.5 * unified + 0.5 * feature_feedback_individual(student, teacher, power)


def feature_feedback_unified(student: Features, teacher: Features, power: float = 4, normalise: bool = False) -> Tensor:
    """IMD_U(s_e1, {t_e2, t_e3, t_e4}), the unified part of FLFD."""
    own, others = FEATURE_UNIFIED
    _check_taps(student, teacher, (own,), others)
    return fused_importance_map_loss(student[own], [teacher[name] for name in others], power, normalise)


def feature_feedback_individual(student: Features, teacher: Features, power: float = 4) -> Tensor:
    """IMD(s_e2, t_e5) + IMD(s_e3, t_e5) + IMD(s_e4, t_e5), the individual part of FLFD."""
    own, other = FEATURE_INDIVIDUAL
    _check_taps(student, teacher, own, (other,))
    return torch.stack([importance_map_loss(student[name], teacher[other], power) for name in own]).sum()


def pixel_feedback_loss(
    student: Features, teacher: Features, projections: Mapping[str, Project], temperature: float = 4.0
) -> Tensor:
    """PLFD = 0.5 * PMD_U(s_d5, {t_d5, t_d4, t_d3}) + 0.5 * [PMD(s_d4, t_out) + PMD(s_d3, t_out) + PMD(s_d2, t_out)].

    As released. Both map tap names to feature maps: d5..d2 of the student; d5, d4, d3 and the logits ``out`` of the
    teacher. ``projections`` maps the student's tap names to 1x1 convolutions: "d5" takes the joined teacher maps to the
    student's channels, the others take the student's maps to the classes.
    """
    unified = fused_pixel_loss(student, teacher, projections, temperature)
    return 0.5 * unified + 0.5 * pixel_feedback_individual(student, teacher, projections, temperature)


def fused_pixel_loss(
    student: Features, teacher: Features, projections: Mapping[str, Project], temperature: float = 4.0
) -> Tensor:
    """PMD_U(s_d5, {t_d5, t_d4, t_d3}) as released: the *teacher's* fused map is projected.

    T^2 * (2/C_s) * KL(softmax_c(U/T) || softmax_c(s/T)), mean per voxel, over the student's C_s feature channels. U:
    the teacher's maps at the smallest size among them, joined, projected to C_s and resized to the student's size.
    """
    own, others = PIXEL_UNIFIED
    _check_taps(student, teacher, (own,), others)
    with torch.no_grad():
        fused = projections[own](_joined([teacher[name] for name in others]))
    return prediction_map_loss(student[own], resize(fused, student[own].shape[2:]), temperature) * (
        2.0 / student[own].shape[1]
    )


def corrected_fused_pixel_loss(
    student: Features, teacher: Features, project: Project, temperature: float = 1.0, normalise: bool = True
) -> Tensor:
    """Our PMD_U: T^2 * KL(softmax_c(U/T) || softmax_c(P(s_d5)/T)), mean per voxel, over the teacher's fused channels.

    U: the teacher's d5, d4, d3 at the smallest size among them, with ``normalise`` each divided by the root of its mean
    square per image so that no layer outweighs the others, joined. P takes the *student's* map, resized to U's size,
    to U's channels.
    """
    own, others = PIXEL_UNIFIED
    _check_taps(student, teacher, (own,), others)
    fused = _joined([teacher[name] for name in others], normalise)
    return prediction_map_loss(project(resize(student[own].float(), fused.shape[2:])), fused, temperature)


def pixel_feedback_individual(
    student: Features,
    teacher: Features,
    projections: Mapping[str, Project],
    temperature: float = 4.0,
    at_tap: bool = False,
) -> Tensor:
    """PMD(s_d4, t_out) + PMD(s_d3, t_out) + PMD(s_d2, t_out), PMD(y, t) = T^2 * KL(softmax(t/T) || softmax(P(y)/T)).

    P takes the student's map to the classes; it is then resized to the logits' size. With ``at_tap``, ours, the two
    are compared at the size of the student's map, where the target is the mean of softmax(t/T) over each block: the
    same mean per voxel at a fraction of the cost.
    """
    own, other = PIXEL_INDIVIDUAL
    _check_taps(student, teacher, own, (other,))
    maps = [projections[name](student[name].float()) for name in own]
    if not at_tap:
        return torch.stack([prediction_map_loss(y, teacher[other], temperature) for y in maps]).sum()
    with torch.no_grad():
        soft = class_softmax(teacher[other].detach(), temperature)
    return torch.stack([_block_divergence(y, pool(soft, y.shape[2:]), temperature) for y in maps]).sum()


def _block_divergence(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(target || softmax(logits/T)), mean per voxel."""
    divergence = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="sum")
    return divergence * (temperature**2 * logits.shape[1] / logits.numel())


def _joined(maps: Sequence[Tensor], normalise: bool = False) -> Tensor:
    """Resize maps to the smallest spatial size among them and join their channels, without gradient."""
    with torch.no_grad():
        size = smallest_size(maps)
        resized = [resize(x.detach().float(), size) for x in maps]
        if normalise:
            resized = [
                x / x.flatten(1).square().mean(1).sqrt().clamp(min=1e-6).view(-1, *[1] * (x.ndim - 1)) for x in resized
            ]
        return torch.cat(resized, dim=1)


def _check_taps(student: Features, teacher: Features, own: Sequence[str], others: Sequence[str]) -> None:
    for who, features, names in (("student", student, own), ("teacher", teacher, others)):
        missing = [name for name in names if name not in features]
        if missing:
            raise InputError(f"The {who}'s features lack {', '.join(missing)}; they hold {', '.join(features)}.")


class Hlfd(Method):
    """The corrected method, every part of it a switch.

    ``feature_weight`` * FLFD + ``pixel_weight`` * PLFD, each 0.5 * unified + 0.5 * individual, where
    ``features_unified``, ``features_individual``, ``pixels_unified`` and ``pixels_individual`` say which are there;
    plus ``logits_weight`` times a term s_out <- t_out (``logits``: kd, cwd, dist or none) and, with ``deepest``,
    ``deepest_weight`` * IMD(s_e5, t_e5). ``projections``: ``trained`` (on the student's side, KL per voxel) or
    ``random`` (per step and as released, seeded by ``seed``). ``normalise``: teacher maps are normalised before they
    are fused. ``grid``: individual PLFD at the size of the student's ``tap`` or of the teacher's ``logits``.
    """

    name = "hlfd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        features_unified: bool = True,
        features_individual: bool = True,
        pixels_unified: bool = True,
        pixels_individual: bool = True,
        logits: str = "none",
        deepest: bool = False,
        projections: str = "trained",
        normalise: bool = True,
        grid: str = "tap",
        feature_weight: float = 0.9,
        pixel_weight: float = 0.1,
        logits_weight: float = 1.0,
        deepest_weight: float = 0.5,
        power: float = 4,
        temperature: float = 4.0,
        fused_temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        weights = {"feature_weight": feature_weight, "pixel_weight": pixel_weight, "logits_weight": logits_weight}
        check_at_least(self.name, 0, **weights, deepest_weight=deepest_weight, seed=seed)
        check_positive(self.name, power=power, temperature=temperature, fused_temperature=fused_temperature)
        self.logits = look_up(logits, LOGITS_TERMS, f"logits term of {self.name}")
        self.random = look_up(projections, ("trained", "random"), f"projections of {self.name}") == "random"
        self.at_tap = look_up(grid, ("tap", "logits"), f"grid of {self.name}") == "tap"
        self.normalise, self.power = normalise, power
        self.temperature, self.fused_temperature = temperature, fused_temperature
        switches = {
            "features_unified": (features_unified, 0.5 * feature_weight),
            "features_individual": (features_individual, 0.5 * feature_weight),
            "pixels_unified": (pixels_unified, 0.5 * pixel_weight),
            "pixels_individual": (pixels_individual, 0.5 * pixel_weight),
            "logits": (self.logits != "none", logits_weight),
            "deepest": (deepest, deepest_weight),
        }
        self._check_switches({key: on for key, (on, _) in switches.items()} | {"normalise": normalise})
        self.weights = {key: weight for key, (on, weight) in switches.items() if on}
        """Weight of each part that is there."""
        self._read_taps()
        self.projections = self._make_projections(int(seed))

    def _check_switches(self, switches: Mapping[str, object]) -> None:
        for key, value in switches.items():
            if not isinstance(value, bool):
                raise ConfigError(f"{self.name}: {key} is {value!r}; true or false was expected.")

    def _read_taps(self) -> None:
        """Declare what the parts that are there read."""
        pairs: dict[str, tuple[Sequence[str], Sequence[str]]] = {
            "features_unified": ([FEATURE_UNIFIED[0]], FEATURE_UNIFIED[1]),
            "features_individual": (FEATURE_INDIVIDUAL[0], [FEATURE_INDIVIDUAL[1]]),
            "pixels_unified": ([PIXEL_UNIFIED[0]], PIXEL_UNIFIED[1]),
            "pixels_individual": (PIXEL_INDIVIDUAL[0], [PIXEL_INDIVIDUAL[1]]),
            "logits": (["out"], ["out"]),
            "deepest": (["e5"], ["e5"]),
        }
        read = [pairs[part] for part in self.weights]
        self.read([name for names, _ in read for name in names], [name for _, names in read for name in names])

    def _make_projections(self, seed: int) -> TrainedProjections | RandomProjections:
        shapes: dict[str, tuple[int, int]] = {}
        if "pixels_unified" in self.weights:
            own, others = PIXEL_UNIFIED
            fused = sum(self.teacher_channels[name] for name in others)
            channels = self.student_channels[own]
            shapes[own] = (fused, channels) if self.random else (channels, fused)
        if "pixels_individual" in self.weights:
            shapes |= {name: (self.student_channels[name], self.classes) for name in PIXEL_INDIVIDUAL[0]}
        if self.random:
            return RandomProjections(self.spatial_dims, shapes, seed)
        return TrainedProjections(self.spatial_dims, shapes)

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return one term per part that is there."""
        parts = {
            "features_unified": self._features_unified,
            "features_individual": self._features_individual,
            "pixels_unified": self._pixels_unified,
            "pixels_individual": self._pixels_individual,
            "logits": self._logits,
            "deepest": self._deepest,
        }
        projections = self.projections.draw(labels.device)
        return {part: weight * parts[part](student, teacher, projections) for part, weight in self.weights.items()}

    def _features_unified(self, student: Features, teacher: Features, _: Mapping[str, Project]) -> Tensor:
        return feature_feedback_unified(student, teacher, self.power, self.normalise)

    def _features_individual(self, student: Features, teacher: Features, _: Mapping[str, Project]) -> Tensor:
        return feature_feedback_individual(student, teacher, self.power)

    def _pixels_unified(self, student: Features, teacher: Features, projections: Mapping[str, Project]) -> Tensor:
        if self.random:
            return fused_pixel_loss(student, teacher, projections, self.temperature)
        project = projections[PIXEL_UNIFIED[0]]
        return corrected_fused_pixel_loss(student, teacher, project, self.fused_temperature, self.normalise)

    def _pixels_individual(self, student: Features, teacher: Features, projections: Mapping[str, Project]) -> Tensor:
        return pixel_feedback_individual(student, teacher, projections, self.temperature, self.at_tap)

    def _logits(self, student: Features, teacher: Features, _: Mapping[str, Project]) -> Tensor:
        own, other = student["out"], teacher["out"]
        if self.logits == "dist":
            return dist_loss(own, other)
        return (cwd_loss if self.logits == "cwd" else prediction_map_loss)(own, other, self.temperature)

    def _deepest(self, student: Features, teacher: Features, _: Mapping[str, Project]) -> Tensor:
        return importance_map_loss(student["e5"], teacher["e5"], self.power)


class HlfdReleased(Hlfd):
    """Exactly what the released code computes: projections drawn anew in every step, maps fused as they are."""

    name = "hlfd-released"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        features_unified: bool = True,
        features_individual: bool = True,
        pixels_unified: bool = True,
        pixels_individual: bool = True,
        feature_weight: float = 0.9,
        pixel_weight: float = 0.1,
        power: float = 4,
        temperature: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            student,
            teacher,
            classes,
            spatial_dims,
            features_unified=features_unified,
            features_individual=features_individual,
            pixels_unified=pixels_unified,
            pixels_individual=pixels_individual,
            feature_weight=feature_weight,
            pixel_weight=pixel_weight,
            power=power,
            temperature=temperature,
            seed=seed,
            projections="random",
            normalise=False,
            grid="logits",
        )
