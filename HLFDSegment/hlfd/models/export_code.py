"""The part of the engine that a bundle carries, so that it runs where HLFD is not installed."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def needed_files(module: str) -> list[Path]:
    """Return the files of ``hlfd``, relative to it, that ``module`` imports directly or through others.

    Imports inside functions count too. The ``__init__`` of every package on the way belongs to them.
    """
    wanted, found = [module], set()
    while wanted:
        for path in _files_of(wanted.pop()):
            if path not in found:
                found.add(path)
                wanted += _imports(PACKAGE / path)
    return sorted(found)


def _files_of(module: str) -> list[Path]:
    """Return the file of a module and the ``__init__`` files of its packages; nothing for a name inside a module."""
    parts = module.split(".")[1:]
    files = [Path(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
    if parts:
        files.append(Path(*parts).with_suffix(".py"))
    return [path for path in files if (PACKAGE / path).is_file()]


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "hlfd"]


def copy_engine(module: str, folder: Path) -> int:
    """Copy what ``module`` needs to ``folder/hlfd``; returns the number of files."""
    files = needed_files(module)
    for path in files:
        target = folder / "hlfd" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / path, target)
    return len(files)
