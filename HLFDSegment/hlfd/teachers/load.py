"""Finds out what kind of teacher a source is, and loads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hlfd.errors import ConfigError, ModelError
from hlfd.teachers.builder import load_builder
from hlfd.teachers.bundle import load_bundle
from hlfd.teachers.nnunet import load_nnunet
from hlfd.teachers.own import load_package_teacher
from hlfd.teachers.settings import TeacherSettings, read_settings
from hlfd.teachers.teacher import Teacher, freeze, with_stated
from hlfd.teachers.torchscript import load_torchscript

_BUILDER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SCRIPTS = (".ts", ".pt", ".pth", ".jit", ".torchscript")

LOADERS: dict[str, Callable[[TeacherSettings], Teacher]] = {
    "package": load_package_teacher,
    "bundle": load_bundle,
    "torchscript": load_torchscript,
    "nnunet": load_nnunet,
    "builder": load_builder,
}


def load_teacher(settings: TeacherSettings | str | Path | Mapping[str, Any]) -> Teacher:
    """Load the teacher that ``settings`` names; it is frozen, in eval mode, float32, on the CPU.

    Code that comes with a teacher is not run, apart from ``package.module:builder``, which names code that is installed
    here. Raises ``ConfigError`` for settings that do not fit the teacher and ``ModelError`` for files that are missing,
    damaged, or could only be read by running code in them.
    """
    settings = read_settings(settings)
    kind = find_kind(settings.source) if settings.kind == "auto" else settings.kind
    teacher = with_stated(LOADERS[kind](settings), settings)
    freeze(teacher.module)
    return teacher


def find_kind(source: str) -> str:
    """Return the kind of a source: by the files of a folder, by the suffix of a file, else by its form.

    Raises ``ModelError`` for a path that is none of them, with what was looked for.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        for kind, names in (
            ("package", ("model.json",)),
            ("nnunet", ("plans.json", "nnUNetPlans.json")),
            ("bundle", ("configs",)),
        ):
            if any((path / name).exists() for name in names):
                return kind
        raise ModelError(
            f'"{path}" is no teacher: it holds neither model.json (an HLFD package), nor plans.json (an nnU-Net v2 '
            "model), nor configs (a MONAI bundle).",
            "Name the folder that holds one of them itself.",
        )
    if path.is_file() and path.suffix.lower() in _SCRIPTS:
        return "torchscript"
    if path.is_file():
        raise ModelError(
            f'"{path}" is no teacher: its suffix is none of {", ".join(_SCRIPTS)} of TorchScript files.',
            "Weights alone need the network too: name a package.module:builder, and this file under weights.",
        )
    if _BUILDER.fullmatch(source):
        return "builder"
    if path.suffix.lower() in _SCRIPTS or len(path.parts) > 2:
        raise ModelError(f'The teacher "{source}" does not exist.', "Correct its path.")
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)?", source):
        raise ConfigError(
            f'"{source}" names no teacher.', "Name a package, a file, a folder or package.module:builder."
        )
    return "package"
