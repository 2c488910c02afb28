"""Import of a model package from a zip file or a folder, safely and in one step."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from hlfd.errors import DiskFullError, InputError, ModelError, OutputError
from hlfd.models.package import ModelPackage, load_package
from hlfd.models.registry import NAME, user_models

MAX_PACKAGE_BYTES = 2 << 30
MAX_FILES = 500
MAX_DESCRIPTION_BYTES = 8 << 20

Opener = Callable[[str], IO[bytes]]


def install(source: Path, overwrite: bool = False, root: Path | None = None) -> ModelPackage:
    """Copy the package in a zip file or folder to ``root`` (the user's models) and return it.

    Only ``model.json`` and the files that it names are taken; their SHA-256 sums are checked before the package
    appears under its name. Raises ``ModelError`` for absolute or ``..`` paths, links, more than 2 GiB, damaged files or
    a version that is there already (unless ``overwrite``), ``InputError`` for a source that is no zip or folder.
    """
    source = Path(source).expanduser()
    if source.is_dir():
        return _install(lambda name: _open_in_folder(source, name), overwrite, root)
    if not source.is_file():
        raise InputError(f'"{source}" does not exist; a zip file or the folder of a model package was expected.')
    try:
        with zipfile.ZipFile(source) as archive:
            prefix = _check_archive(archive)
            return _install(lambda name: archive.open(prefix + name), overwrite, root)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f'"{source}" is not a readable zip file: {error}.', "Download it again.") from error


def check_member(name: str) -> str:
    """Return a file name of a package unless it could lead outside its folder, which raises ``ModelError``."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in name
    if outside or not posix.parts:
        raise ModelError(f'The package names a file outside its folder: "{name}".', "Do not use this package.")
    return name


def _check_archive(archive: zipfile.ZipFile) -> str:
    """Return the folder inside the zip, with a slash, that holds ``model.json``; check all its members."""
    members = archive.infolist()
    if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_PACKAGE_BYTES:
        raise ModelError(
            f"The zip file unpacks to more than {MAX_FILES} files or {MAX_PACKAGE_BYTES >> 30} GiB; that is no package."
        )
    for member in members:
        check_member(member.filename)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f'The zip file holds a link: "{member.filename}".', "Do not use this package.")
    found = [member.filename for member in members if PurePosixPath(member.filename).name == "model.json"]
    if len(found) != 1:
        raise ModelError(f"The zip file holds {len(found)} files model.json; exactly one was expected.")
    return found[0].removesuffix("model.json")


def _open_in_folder(folder: Path, name: str) -> IO[bytes]:
    path = folder / check_member(name)
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f'The package holds a link: "{name}".', "Copy the file itself into the package.")
    return path.open("rb")


def _install(opener: Opener, overwrite: bool, root: Path | None) -> ModelPackage:
    root = user_models() if root is None else root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=root) as scratch:
            staged = Path(scratch) / "package"
            _copy(opener, staged)
            package = load_package(staged)
            target = _target(root, package.name, package.version, overwrite)
            put_in_place(staged, target)
        return load_package(target, verify=False)
    except OSError as error:
        raise write_error(root, error) from error


def write_error(folder: Path, error: OSError) -> OutputError:
    """Return the error for the user when ``folder`` cannot be written."""
    if error.errno == errno.ENOSPC:
        return DiskFullError(f'No space is left to write the model to "{folder}".', "Free some space and try again.")
    return OutputError(f'Cannot write the model to "{folder}": {error.strerror or error}.', "Set HLFD_MODELS.")


def _copy(opener: Opener, staged: Path) -> None:
    staged.mkdir()
    try:
        with opener("model.json") as stream:
            text = stream.read(MAX_DESCRIPTION_BYTES + 1)
    except (FileNotFoundError, KeyError) as error:
        raise ModelError("The package holds no model.json.", "Choose a model package.") from error
    try:
        names = [check_member(str(name)) for name in json.loads(text)["sha256"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"model.json is not valid: {error}.", "Download the package again.") from error
    if len(text) > MAX_DESCRIPTION_BYTES or len(names) > MAX_FILES:
        raise ModelError("model.json is larger than any real one.", "Do not use this package.")
    (staged / "model.json").write_bytes(text)
    left = MAX_PACKAGE_BYTES
    for name in names:
        left -= _copy_member(opener, name, staged / name, left)


def _copy_member(opener: Opener, name: str, target: Path, limit: int) -> int:
    """Copy one file and return its size; sizes in a zip's headers are not trusted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with opener(name) as stream, target.open("wb") as out:
            while block := stream.read(1 << 20):
                written += len(block)
                if written > limit:
                    raise ModelError(f"The package is larger than {MAX_PACKAGE_BYTES >> 30} GiB.")
                out.write(block)
    except (FileNotFoundError, KeyError) as error:
        raise ModelError(f'The package lacks the file "{name}".', "Download the package again.") from error
    return written


def _target(root: Path, name: str, version: str, overwrite: bool) -> Path:
    for part in (name, version):
        if not NAME.fullmatch(part):
            raise ModelError(f'"{part}" cannot be a name or version; letters, digits, ".", "-" and "_" were expected.')
    target = root / name / version
    if target.exists() and not overwrite:
        raise ModelError(
            f"The model {name}/{version} is installed already.", "Use --overwrite to replace it, or remove it first."
        )
    return target


def put_in_place(staged: Path, target: Path) -> None:
    """Rename the finished folder ``staged`` to ``target``, replacing an older one; both are on one file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = staged.with_name("replaced")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(staged, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
