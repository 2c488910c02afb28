"""The folder of one job: ``request.json``, ``answer.json``, and arrays as memory-mapped ``.npy`` files.

Arrays that go in are ``in-NAME.npy``, those that come out ``out-NAME.npy``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import DiskFullError, HlfdError, OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUEST, ANSWER = "request.json", "answer.json"
IN, OUT = "in", "out"
_SESSION = re.compile(r"hlfd-jobs-(\d+)-\w+")


def make_session_folder(root: Path | None = None) -> Path:
    """Return a new folder for the jobs of this process, and remove those of processes that no longer live."""
    parent = Path(root or tempfile.gettempdir())
    try:
        sweep(parent)
        return Path(tempfile.mkdtemp(prefix=f"hlfd-jobs-{os.getpid()}-", dir=parent))
    except OSError as error:
        raise folder_error(parent, error) from error


def sweep(parent: Path) -> None:
    """Remove the session folders in ``parent`` whose process is gone; what cannot be removed stays."""
    from hlfd.jobs.process import is_running

    for folder in parent.glob("hlfd-jobs-*"):
        named = _SESSION.fullmatch(folder.name)
        if named and folder.is_dir() and not is_running(int(named.group(1))):
            shutil.rmtree(folder, ignore_errors=True)


def folder_error(folder: Path, error: OSError) -> OutputError:
    """Return the error for the user when files of a job cannot be written."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
        return DiskFullError(
            f'No space is left in "{folder}" for the files of the job.', "Free some space and start again."
        )
    return OutputError(
        f'The files of the job cannot be written to "{folder}": {error.strerror or error}.',
        "Set the environment variable TMPDIR (on Windows TEMP) to a folder that you may write to.",
    )


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON so that ``path`` never holds half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read what ``write_json`` wrote; raise ``HlfdError`` for a file that is missing or damaged."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HlfdError(f'"{path}" cannot be read: {error}.', "Start the job again.") from error
    return values


def save_array(folder: Path, side: str, name: str, array: NDArray) -> None:
    """Write one array for the other side."""
    import numpy as np

    try:
        np.save(folder / f"{side}-{name}.npy", array, allow_pickle=False)
    except OSError as error:
        if error.errno is None:  # numpy counts what was written, and does not say why it was less
            raise OSError(errno.ENOSPC, str(error)) from error
        raise


def open_arrays(folder: Path, side: str) -> dict[str, NDArray]:
    """Return the arrays of one side by name, memory-mapped and read-only; nothing is read yet."""
    import numpy as np

    found = {}
    for path in sorted(folder.glob(f"{side}-*.npy")):
        name = path.stem[len(side) + 1 :]
        try:
            # asarray: slices of the subclass memmap cost several times those of a plain array
            found[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise HlfdError(f'The array "{path}" is damaged: {error}.', "Start the job again.") from error
    return found
