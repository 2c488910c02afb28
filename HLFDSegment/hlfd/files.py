"""Files that hold either the old or the complete new content, also after a power failure."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import DiskFullError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_atomically(path: Path, write: Callable[[Path], None], keep_previous: Path | None = None) -> None:
    """Write a file so that ``path`` holds either the old or the complete new content, also after a power failure.

    ``write`` gets a temporary path beside ``path``; the file is then synced and renamed. With ``keep_previous`` the
    old file goes there. Raises ``DiskFullError`` or ``OutputError``; the old file and no temporary file remain then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        if keep_previous is not None and path.exists():
            os.replace(path, keep_previous)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    except RuntimeError as error:  # torch's zip writer reports a failed write so
        raise output_error(path, _space_error(path.parent, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically, see ``write_atomically``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write plain values as JSON atomically, see ``write_atomically``."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file atomically, see ``write_atomically``."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as ``.npy`` atomically, see ``write_atomically``."""
    import numpy as np

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:  # np.save would add a suffix to the path
            np.save(stream, array)

    write_atomically(path, write)


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder last, also after a power failure; nothing to do on Windows."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _space_error(folder: Path, error: RuntimeError) -> OSError:
    full = shutil.disk_usage(folder).free < 1 << 20 or "No space left" in str(error)
    return OSError(errno.ENOSPC if full else errno.EIO, str(error))


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error to raise when writing ``path`` failed with ``error``."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):  # Windows has no quota error
        return DiskFullError(f'No space is left to write "{path}".', "Free some space and start again; it resumes.")
    return OutputError(f'Cannot write "{path}": {error.strerror or error}.', "Choose a folder that you may write to.")
