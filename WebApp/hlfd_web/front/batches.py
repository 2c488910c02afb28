"""Uploaded files get their names: a single one, or many that belong together as a folder once all are there."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hlfd.errors import InputError
from hlfd.files import sync_folder
from hlfd_web.files import free_name
from hlfd_web.front.kinds import suffix_of
from hlfd_web.front.sessions import Session

PART = ".upload-"
"""How hidden names of what is not complete begin."""
_MOST = 5000


class Batch:
    """Files of one upload in a hidden folder, removed when the session ends before they are complete."""

    def __init__(self, folder: Path, session: Session) -> None:
        folder.mkdir()
        self._folder = folder
        self._title = "images"
        self._count = 0
        session.closers.append(self.discard)

    def add(self, part: Path, name: str) -> None:
        """Move a file that was checked into the folder."""
        if self._count >= _MOST:
            raise InputError(f"More than {_MOST} files were sent at once.", "Choose one series.")
        if suffix_of(name) in ("", ".dcm"):
            self._title = "DICOM series"
        put(part, self._folder, name)
        self._count += 1

    def finish(self, folder: Path) -> Path:
        """Give the folder its name."""
        return put_folder(self._folder, folder, self._title)

    def discard(self) -> None:
        """Remove what came."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def forget(self, session: Session) -> None:
        """Let the session end without removing anything."""
        with contextlib.suppress(ValueError):
            session.closers.remove(self.discard)


def put(part: Path, folder: Path, name: str) -> Path:
    """Give ``part`` a name in ``folder`` that is not taken: the name is reserved first, so no file is ever replaced."""
    while True:
        path = free_name(folder, name)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        os.replace(part, path)
        sync_folder(folder)
        return path


def put_folder(staged: Path, folder: Path, name: str) -> Path:
    """Give the folder ``staged`` a name in ``folder`` that is not taken."""
    while True:
        path = free_name(folder, name)
        try:
            path.mkdir()  # reserves the name; a folder may replace an empty one
        except FileExistsError:
            continue
        os.replace(staged, path)
        sync_folder(folder)
        return path
