"""Errors that are the program's own fault: a sentence, a log file with the details, never a bare traceback."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hlfd import __version__
from hlfd.errors import HlfdError


def internal_error(error: Exception) -> HlfdError:
    """Return the error to show for an unexpected exception, and write its traceback to a log file."""
    if isinstance(error, MemoryError):
        return HlfdError(
            "The machine has too little free memory for this.", "Close other programs, or crop the image and try again."
        )
    what = str(error).strip().splitlines()
    summary = f"{type(error).__name__}: {what[0][:200]}" if what else type(error).__name__
    log = write_log(error)
    place = (
        f'Details are in "{log}"; please report them.' if log else "Run it again with --debug and report the output."
    )
    return HlfdError(f"An internal error stopped the command ({summary}).", place)


def write_log(error: Exception) -> Path | None:
    """Write traceback and versions to a new file in the temporary folder; return None where that is not possible."""
    lines = [
        f"hlfd {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"arguments: {sys.argv[1:]}",
        *traceback.format_exception(type(error), error, error.__traceback__),  # in full for Python 3.9
    ]
    try:
        handle, name = tempfile.mkstemp(prefix=f"hlfd-{time.strftime('%Y%m%d-%H%M%S')}-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write("\n".join(lines))
    except OSError:
        return None
    return Path(name)
