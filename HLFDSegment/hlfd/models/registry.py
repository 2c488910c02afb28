"""Installed model packages: those that ship with HLFD and the user's own, by name, version or path."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hlfd.errors import HlfdError, ModelError, OutputError
from hlfd.models.package import ModelPackage, load_package
from hlfd.models.resources import bundled_models

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Installed:
    """One installed package as its ``model.json`` describes it; ``problem`` says why it cannot be used, if so."""

    name: str
    version: str
    folder: Path
    bundled: bool
    task: str = ""
    title: str = ""
    demonstration: bool = True
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ready for JSON."""
        return {**asdict(self), "folder": str(self.folder)}


def user_models() -> Path:
    """Return the user's own folder of packages: ``HLFD_MODELS``, else ``Models`` in the user's data folder."""
    chosen = os.environ.get("HLFD_MODELS")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_path("hlfd", appauthor=False)) / "Models"


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts versions by their numbers: 1.10.0 after 1.9.0, and 1.0.0 after 1.0.0-rc1."""
    parts = re.findall(r"\d+|[A-Za-z]+", version)
    return (*((1, int(part), "") if part.isdigit() else (-1, 0, part) for part in parts), (0, 0, ""))


def installed() -> list[Installed]:
    """Return all installed packages by name, newest version first, the user's before the bundled of one version."""
    found = [_describe(folder, False) for folder in _version_folders(user_models())]
    found += [_describe(folder, True) for folder in _version_folders(bundled_models())]
    newest_first = sorted(found, key=lambda entry: (version_key(entry.version), not entry.bundled), reverse=True)
    return sorted(newest_first, key=lambda entry: entry.name)


def next_version(name: str, version: str) -> str:
    """Return ``version`` with a further number that no installed version of ``name`` has: 0.2.0 becomes 0.2.0.1."""
    taken = {entry.version for entry in installed() if entry.name == name}
    number = 1
    while f"{version}.{number}" in taken:
        number += 1
    return f"{version}.{number}"


def _version_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [path.parent for path in root.glob("*/*/model.json") if NAME.fullmatch(path.parent.name)]


def _describe(folder: Path, bundled: bool) -> Installed:
    name, version = folder.parent.name, folder.name
    try:
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return Installed(
            *(name, version, folder, bundled),
            task=str(data["task"]),
            title=str(data.get("title", "")),
            demonstration=bool(data["demonstration"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Installed(name, version, folder, bundled, problem=f"model.json is not readable: {error}")


def find_folder(name_or_path: str | Path) -> Path:
    """Return the folder of a package given as ``name`` (its newest version), ``name/version`` or a path.

    Raises ``ModelError`` that lists what is installed when there is no such package.
    """
    wanted = str(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.name == "model.json":
        path = path.parent
    entries = installed()
    for entry in entries:
        if wanted in (entry.name, f"{entry.name}/{entry.version}"):
            return entry.folder
    if (path / "model.json").is_file():
        return path
    names = ", ".join(f"{entry.name}/{entry.version}" for entry in entries) or "none"
    raise ModelError(
        f'There is no model "{wanted}"; installed are: {names}.',
        "Name one of them or a package folder, or import one with: hlfd models import FILE.zip.",
    )


def find(name_or_path: str | Path, verify: bool = True) -> ModelPackage:
    """Return the package given as ``name``, ``name/version`` or a path, its SHA-256 sums checked unless told not to.

    Raises ``ModelError`` when it is not installed, incomplete or damaged.
    """
    return load_package(find_folder(name_or_path), verify)


def remove(name_and_version: str) -> Path:
    """Delete one version (``name/version``) or all versions (``name``) of a package of the user's own folder.

    Returns the folder that is gone. Bundled packages raise ``ModelError``.
    """
    root = user_models()
    parts = name_and_version.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(part) for part in parts):
        raise ModelError(f'"{name_and_version}" is no package name; name or name/version was expected.')
    folder = root.joinpath(*parts)
    if not folder.is_dir() or folder.is_symlink():
        raise ModelError(_why_not_removable(name_and_version), "List what can be removed with: hlfd models list.")
    hidden = root / f".removed-{parts[0]}-{os.getpid()}"
    try:
        os.replace(folder, hidden)  # in one step, so that no half-deleted package can be found
        shutil.rmtree(hidden, ignore_errors=True)
        if folder.parent != root and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    except OSError as error:
        raise OutputError(f'Cannot remove "{folder}": {error.strerror or error}.') from error
    return folder


def _why_not_removable(name_and_version: str) -> str:
    try:
        folder = find_folder(name_and_version)
    except HlfdError:
        return f'There is no model "{name_and_version}".'
    return f'The model "{name_and_version}" ships with HLFD ("{folder}") and is not removed; only own models are.'
