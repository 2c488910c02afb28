"""The student of a comparison: the same first weights for every method."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hlfd.compare.data import patch_file, read_tensors
from hlfd.compare.settings import CompareSettings
from hlfd.compare.teacher import load_plain_or_merged
from hlfd.errors import ConfigError
from hlfd.models.package import file_sha256
from hlfd.networks import SegmentationNetwork, build_network
from hlfd.networks.unfold import load_for_training

_CALIBRATION_PATCHES = 8


def build_student(settings: CompareSettings, seed: int) -> SegmentationNetwork:
    """Return the student with the first weights of ``seed``, or with those that the settings name.

    Raises ``ConfigError`` where that file is missing, and ``ModelError`` where it does not fit.
    """
    torch.manual_seed(seed)
    channels = {"in_channels": len(settings.patch.windows), "classes": len(settings.learned()) + 1}
    network = build_network(settings.student.network, **channels, **settings.student.parameters)
    if settings.student.initial:
        load = partial(load_for_training, images=_images(settings))
        load_plain_or_merged(load, network, _initial(settings), settings.student_groups())
    return network


def initial_sha256(settings: CompareSettings) -> str | None:
    """Return the SHA-256 of the weights that the students begin with, or None for random ones."""
    return file_sha256(_initial(settings)) if settings.student.initial else None


def _initial(settings: CompareSettings) -> Path:
    path = Path(settings.student.initial)
    if not path.is_file():
        raise ConfigError(
            f'The weights that the student begins with, "{path}", are missing.',
            "Give the path of a safetensors file, or leave student.initial out to begin with random weights.",
        )
    return path


def _images(settings: CompareSettings) -> Iterator[Tensor]:
    """Yield kept patches (1, C, k, j, i), by which norms that a package has folded are restored."""
    for index in range(min(settings.validation.patches, _CALIBRATION_PATCHES)):
        path = patch_file(settings, "validation", index)
        if path.is_file():  # before the data is made, the weights are only tried on
            yield read_tensors(path, ["image"])["image"].float()[None]
