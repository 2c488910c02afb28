"""The folder that browsers may see: every path that comes from a page goes through ``DataRoot``.

A browser names files relative to the root, with ``/``: ``uploads/ct.nii.gz``. What could lead outside (``..``,
absolute names, backslashes, NUL, links that leave the root), hidden names and special files are refused.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hlfd.errors import InputError, MissingInputError, OutputError

IMAGES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
"""Suffixes of files that may hold a CT or a segmentation; DICOM slices also come without a suffix, in folders."""
FOLDERS = ("uploads", "results", "projects", "models")
_MAX_PART, _MAX_NAME = 255, 2048
_MAX_SCANNED = 20_000  # of one folder, so that a listing stays quick whatever lies there
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NON_BLOCK = getattr(os, "O_NONBLOCK", 0)  # opening a pipe must not wait for its writer


@dataclass(frozen=True)
class Entry:
    """One row of a listing: ``path`` is relative to the root, ``kind`` one of folder, image, package, other."""

    name: str
    path: str
    kind: str
    size: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values for the state of a page."""
        return asdict(self)


@dataclass(frozen=True)
class Listing:
    """Folders first, then files, by name; ``more`` says how many were left out."""

    path: str
    entries: tuple[Entry, ...]
    more: int = 0


def kind_of(name: str) -> str:
    """Return image, package (a zip) or other, by the name of a file."""
    low = name.lower()
    if low.endswith(IMAGES):
        return "image"
    return "package" if low.endswith(".zip") else "other"


def _refuse(name: str, why: str) -> InputError:
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    return InputError(f"{shown!a} is not the name of a file in the data folder: {why}.", "Choose a file from the list.")


def check_name(name: str) -> tuple[str, ...]:
    """Return the parts of a name that a browser sent; raise ``InputError`` unless all of them are plain names."""
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise _refuse(str(name), f"a text of at most {_MAX_NAME} characters was expected")
    if name in ("", "."):
        return ()
    parts = tuple(name.split("/"))
    for part in parts:
        check_part(part, name)
    return parts


def check_part(part: str, name: str) -> None:
    """Raise ``InputError`` unless ``part`` can be one plain entry of a folder."""
    if part in ("", ".", ".."):
        raise _refuse(name, "it is absolute or leads through other folders")
    if part.startswith("."):
        raise _refuse(name, "hidden files are not shown")
    if "\\" in part or ":" in part or any(ord(letter) < 32 or ord(letter) == 127 for letter in part):
        raise _refuse(name, "it holds a backslash, a colon or a control character")
    try:
        size = len(part.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise _refuse(name, "it is not valid text") from error
    if size > _MAX_PART:
        raise _refuse(name, f"a part of it is longer than {_MAX_PART} bytes")


class DataRoot:
    """A folder and all that browsers may do in it."""

    def __init__(self, folder: Path | str) -> None:
        """Make the folder and its sub-folders; raise ``OutputError`` where that is not possible."""
        path = Path(folder).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.folder = path.resolve()
            for name in FOLDERS:
                (self.folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f'The data folder "{folder}" cannot be made: {error.strerror or error}.',
                "Name a folder that you may write to with --data-root.",
            ) from error
        self.uploads, self.results, self.projects, self.models = (self.folder / name for name in FOLDERS)

    @property
    def hidden(self) -> Path:
        """The folder of what the application keeps for itself; never listed, never served."""
        return self.folder / ".hlfd"

    def resolve(self, name: str) -> Path:
        """Return the existing file or folder that a browser names; raise an ``InputError`` unless it lies inside."""
        path = self.folder.joinpath(*check_name(name))
        try:
            real = path.resolve(strict=True)
            mode = real.stat().st_mode
        except FileNotFoundError as error:
            raise MissingInputError(f'"{name}" does not exist any more.', "Choose another file.") from error
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links is a RuntimeError before Python 3.13
            raise _refuse(name, f"it cannot be reached ({getattr(error, 'strerror', None) or error})") from error
        if not real.is_relative_to(self.folder):
            raise _refuse(name, "it is a link that leads outside")
        if any(part.startswith(".") for part in real.relative_to(self.folder).parts):
            raise _refuse(name, "hidden files are not shown")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _refuse(name, "it is neither a file nor a folder")
        return real

    def name_of(self, path: Path) -> str:
        """Return the name by which a browser knows a path inside the root."""
        try:
            return Path(os.path.abspath(path)).relative_to(self.folder).as_posix()
        except ValueError as error:
            raise _refuse(str(path), "it lies outside") from error

    def open(self, name: str) -> BinaryIO:
        """Open a file to read it, walking folder by folder so that no link put in the way meanwhile is followed."""
        real = self.resolve(name)
        parts = real.relative_to(self.folder).parts
        if not parts:
            raise _refuse(name, "it is a folder")
        try:
            handle = self._open_beneath(parts)
        except OSError as error:
            raise _refuse(name, f"it cannot be opened ({error.strerror})") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise _refuse(name, "it is a folder")
        return os.fdopen(handle, "rb")

    def _open_beneath(self, parts: tuple[str, ...]) -> int:
        if os.open not in os.supports_dir_fd:  # Windows, where links need rights of an administrator
            return os.open(self.folder.joinpath(*parts), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            flags = os.O_RDONLY | _NO_FOLLOW | (_NON_BLOCK if last else os.O_DIRECTORY)
            try:
                inner = os.open(part, flags, dir_fd=folder)
            finally:
                os.close(folder)
            folder = inner
        return folder

    def list(self, name: str = "", limit: int = 500) -> Listing:
        """Return what one folder holds, hidden names and links that leave the root left out."""
        folder = self.resolve(name)
        if not folder.is_dir():
            raise _refuse(name, "it is a file, not a folder")
        try:
            with os.scandir(folder) as found:
                entries = sorted(self._entries(itertools.islice(found, _MAX_SCANNED), name), key=_order)
        except OSError as error:
            raise _refuse(name, f"it cannot be read ({error.strerror})") from error
        return Listing(name, tuple(entries[:limit]), max(0, len(entries) - limit))

    def _entries(self, found: Iterable[os.DirEntry[str]], name: str) -> Iterator[Entry]:
        for item in found:
            path = f"{name}/{item.name}" if name not in ("", ".") else item.name
            try:
                real = self.resolve(path) if item.is_symlink() else None
                check_part(item.name, path)
                if item.is_dir():
                    yield Entry(item.name, path, "folder")
                elif item.is_file():
                    yield Entry(item.name, path, kind_of(item.name), (real or item).stat().st_size)
            except (InputError, OSError):  # leads outside, or is gone meanwhile: not shown
                continue


def _order(entry: Entry) -> tuple[bool, str, str]:
    return entry.kind != "folder", entry.name.casefold(), entry.name


def free_name(folder: Path, name: str) -> Path:
    """Return a path in ``folder`` that is not taken: ``ct.nii.gz``, else ``ct-2.nii.gz`` and so on."""
    stem, dot, suffix = name.partition(".")
    for number in itertools.count(1):
        path = folder / (name if number == 1 else f"{stem}-{number}{dot}{suffix}")
        if not os.path.lexists(path):
            return path
    raise AssertionError("count() does not end")
