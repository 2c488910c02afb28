"""The teacher of a comparison: a network with the comparison's training classes, found by file, package or recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hlfd.checkpoint import load_weights
from hlfd.compare.settings import CompareSettings, TeacherSettings
from hlfd.config import look_up
from hlfd.distillation.teacher import tap_paths
from hlfd.errors import ConfigError, ModelError
from hlfd.features import FeatureTap
from hlfd.models.package import NetworkEntry, file_sha256
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network
from hlfd.networks.merge import merge_logits


def teacher_weights(settings: TeacherSettings) -> Path:
    """Return the weights file of the teacher; raise ``ConfigError`` or ``ModelError`` where there is none."""
    if settings.package:
        return _entry(settings).weights
    if settings.recipe:
        from hlfd.training.recipe import read_recipe

        path = read_recipe(Path(settings.recipe)).folder / settings.stage / "best.safetensors"
        remedy = f"Run it first: hlfd train {settings.recipe} --stages {settings.stage}."
    else:
        path, remedy = Path(settings.weights), "Give the path of a safetensors file."
    if not path.is_file():
        raise ConfigError(f'The weights of the teacher, "{path}", are missing.', remedy)
    return path


def teacher_sha256(settings: TeacherSettings) -> str:
    """Return the SHA-256 of the teacher's weights, by which kept outputs are known to be its own."""
    return file_sha256(teacher_weights(settings))


def load_teacher(settings: CompareSettings) -> SegmentationNetwork:
    """Return the teacher in eval mode without gradients; its classes, spacing and windows are those of the patches.

    Raises ``ConfigError`` where they differ, and ``ModelError`` for weights that do not fit the network.
    """
    teacher = settings.teacher
    if teacher.package:
        network = _from_package(settings)
    elif teacher.recipe:
        network = _from_recipe(settings)
    else:
        channels = {"in_channels": len(settings.patch.windows), "classes": len(settings.classes) + 1}
        plain = build_network(teacher.network, **channels, **teacher.parameters)
        loaded = load_plain_or_merged(load_weights, plain, teacher_weights(teacher), settings.channel_groups())
        network = _unmerged(loaded)
    _check_classes(network, settings)
    return network.eval().requires_grad_(False)


def load_plain_or_merged(
    load: Callable[[SegmentationNetwork, Path], nn.Module],
    network: SegmentationNetwork,
    path: Path,
    groups: list[list[int]],
) -> nn.Module:
    """Load by ``load`` weights that a training saved, or those of a package, with the classes merged around them.

    Raises the first ``ModelError`` where neither fits.
    """
    try:
        return load(network, path)
    except ModelError as error:
        try:
            return load(MergeClasses(network, groups), path)
        except ModelError:
            raise error from None


def _unmerged(network: nn.Module) -> SegmentationNetwork:
    """Return the network with all its training classes."""
    inner = network.network if isinstance(network, MergeClasses) else network
    assert isinstance(inner, SegmentationNetwork)
    return inner


def _entry(settings: TeacherSettings) -> NetworkEntry:
    from hlfd.models.registry import find

    package = find(settings.package)
    entry = {"teacher": package.teacher, "refiner": package.refiner, "locator": package.locator}[settings.role]
    if entry is None:
        raise ConfigError(
            f'The model "{settings.package}" has no {settings.role}.', "Name another role, or the weights of a teacher."
        )
    return entry


def _from_package(settings: CompareSettings) -> SegmentationNetwork:
    from hlfd.models.build import load_network

    entry = _entry(settings.teacher)
    _check_input(settings, entry.spacing_mm, entry.windows)
    return _unmerged(load_network(entry))


def _from_recipe(settings: CompareSettings) -> SegmentationNetwork:
    from hlfd.training.recipe import read_recipe
    from hlfd.training.run import trained_network

    recipe = read_recipe(Path(settings.teacher.recipe))
    look_up(settings.teacher.stage, list(recipe.networks), f'stage of "{settings.teacher.recipe}"')
    stage = recipe.networks[settings.teacher.stage]
    _check_input(settings, stage.patch.spacing_mm, stage.patch.windows)
    if stage.classes != settings.classes:
        raise ConfigError("The teacher's recipe trains other classes than this comparison.", "Make them the same.")
    teacher_weights(settings.teacher)
    return _unmerged(trained_network(recipe, settings.teacher.stage))


def _check_input(settings: CompareSettings, spacing_mm: float, windows: Sequence[Sequence[float]]) -> None:
    own = [tuple(map(float, window)) for window in settings.patch.windows]
    given = [tuple(map(float, window)) for window in windows]
    if abs(spacing_mm - settings.patch.spacing_mm) > 1e-6 or own != given:
        raise ConfigError(
            f"The teacher sees {spacing_mm:g} mm and windows {given}, the student {settings.patch.spacing_mm:g} mm and "
            f"{own}; the same were expected.",
            "Change patch.spacing_mm and patch.windows, or the teacher.",
        )


def _check_classes(network: SegmentationNetwork, settings: CompareSettings) -> None:
    expected = len(settings.classes) + 1
    if network.description.classes != expected:
        raise ConfigError(
            f"The teacher has {network.description.classes} classes; the {expected} training classes of the comparison "
            "(background included) were expected.",
            "Name as classes those that the teacher was trained with, in their order.",
        )


def distinct_taps(taps: dict[str, str]) -> dict[str, str]:
    """Return for each tap the first tap that reads the same module, so that its output is kept once."""
    first: dict[str, str] = {}
    for name, path in taps.items():
        first.setdefault(path, name)
    return {name: first[path] for name, path in taps.items()}


@torch.no_grad()
def teacher_outputs(
    network: SegmentationNetwork, image: Tensor, groups: Sequence[Sequence[int]] | None = None
) -> dict[str, Tensor]:
    """Return the distinct taps of one image (C, k, j, i) as half precision, each (channels, *spatial).

    ``groups`` merges the channels of the logits (``merge_logits``).
    """
    paths = tap_paths(network, "teacher")
    kept = {name: paths[name] for name in dict.fromkeys(distinct_taps(paths).values())}
    with FeatureTap(network, kept) as features:
        network(image[None])
    if groups is not None:
        features["out"] = merge_logits(features["out"].float(), groups)
    limit = torch.finfo(torch.float16).max
    return {name: tensor[0].float().clamp(-limit, limit).half().contiguous() for name, tensor in features.items()}
