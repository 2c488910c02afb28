"""The teachers that a page can offer: the model's own, another installed model, or what lies in the data root."""

from __future__ import annotations

from collections.abc import Sequence

from hlfd.config import look_up
from hlfd_web.files import DataRoot
from HLFDSegmentLib.model_catalogue import model_choices

FOLDER = "teachers"
"""Folder of the data root for teachers that are no model packages; whoever runs the server puts them there."""
_FILE, _MODEL = "file:", "model:"
_SUFFIXES = (".ts", ".pt", ".pth", ".jit", ".torchscript")

Item = dict[str, str]


def teacher_items(data_root: DataRoot, first: Sequence[Item]) -> list[Item]:
    """Return what a selector offers: ``first``, then installed models, then TorchScript files, MONAI bundles and
    nnU-Net folders."""
    models = [choice.key for choice in model_choices() if not choice.problem]
    return [
        *first,
        *({"title": f"Model {key}", "value": f"{_MODEL}{key}"} for key in models),
        *({"title": name, "value": f"{_FILE}{name}"} for name in _files(data_root)),
    ]


def teacher_source(data_root: DataRoot, value: str) -> str:
    """Return what ``hlfd.teachers`` takes for a chosen value; those that name no model or file stay as they are.

    Raises ``ConfigError`` for one that is not offered.
    """
    if not value.startswith((_FILE, _MODEL)):
        return value
    look_up(value, [item["value"] for item in teacher_items(data_root, ())], "teacher")
    if value.startswith(_MODEL):
        return value[len(_MODEL) :]
    return str(data_root.resolve(f"{FOLDER}/{value[len(_FILE) :]}"))


def _files(data_root: DataRoot) -> list[str]:
    if not (data_root.folder / FOLDER).is_dir():
        return []
    entries = data_root.list(FOLDER).entries
    return [entry.name for entry in entries if entry.kind == "folder" or entry.name.lower().endswith(_SUFFIXES)]
