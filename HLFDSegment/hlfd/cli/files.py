"""Small text files that hold either the old or the complete new content."""

from __future__ import annotations

import os
from pathlib import Path

from hlfd.errors import OutputError


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one step; raise ``OutputError`` where that is not possible."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f'"{path}" cannot be written: {error.strerror}.', "Choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)
