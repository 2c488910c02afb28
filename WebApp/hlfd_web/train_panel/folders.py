"""Folders of the data root that a person may import from or look for CTs in."""

from __future__ import annotations

from pathlib import Path

from hlfd.errors import InputError
from hlfd_web.files import FOLDERS, DataRoot
from hlfd_web.teachers import FOLDER as TEACHERS

_MOST = 200
_OWN = {*FOLDERS, TEACHERS}


def folder_names(data_root: DataRoot) -> list[str]:
    """Return the folders on the first two levels by the names that the page uses; those of the application are left
    out, but for what lies in ``uploads``."""
    found: list[str] = []
    first = [entry.path for entry in data_root.list("").entries if entry.kind == "folder"]
    for name in first:
        if name not in _OWN:
            found.append(name)
        if name not in _OWN or name == "uploads":
            found += [entry.path for entry in data_root.list(name).entries if entry.kind == "folder"]
    return found[:_MOST]


def folder_of(data_root: DataRoot, name: str) -> Path:
    """Return the folder that a person named; raises ``InputError`` where it is none of the data root."""
    if not name:
        raise InputError("No folder is chosen.", "Choose one from the list, or type its name below the data folder.")
    path = data_root.resolve(name.strip().strip("/"))
    if not path.is_dir():
        raise InputError(f'"{name}" is a file, not a folder.', "Choose the folder that holds the cases.")
    return path
