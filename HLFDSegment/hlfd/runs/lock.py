"""One training at a time per user: a lock that the system releases when its holder dies, and a note who holds it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, Any

from hlfd.errors import BusyError
from hlfd.files import write_json
from hlfd.runs.files import read_object
from hlfd.runs.process import lives

_WINDOWS = os.name == "nt"


def lock_path() -> Path:
    """Return the lock of this user's trainings: ``HLFD_RUN_LOCK``, else a file in the user's data folder."""
    chosen = os.environ.get("HLFD_RUN_LOCK")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_path("hlfd", appauthor=False)) / "training.lock"


def holder() -> Path | None:
    """Return the folder of the run that is being started or runs, None where there is none."""
    note = read_object(_note())
    if lives(int(note.get("pid", 0)), str(note.get("started", ""))):
        return Path(str(note.get("folder", "")))
    return None


def note_holder(folder: Path, pid: int, started: str) -> None:
    """Write down that the process ``pid`` holds the lock for the run in ``folder``."""
    write_json(_note(), {"pid": pid, "started": started, "folder": str(folder)})


def refuse_second(folder: Path | None = None) -> None:
    """Raise ``BusyError`` that names the training in progress, if there is one besides that in ``folder``."""
    found = holder()
    if found is not None and found != folder:
        raise BusyError(
            f'A training is running already: {found.name} in "{found.parent.parent}".',
            "Wait for it, or pause or cancel it first; only one runs at a time.",
        )


class RunLock:
    """Held by the process of a run for as long as it lives; the system lets go of it when the process dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream: IO[Any] | None = None

    def acquire(self) -> None:
        """Take the lock; raise ``BusyError`` where another run has it."""
        path = lock_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
        if not _try_lock(stream):
            stream.close()
            refuse_second(self._folder)
            raise BusyError("Another training is running already.", "Wait for it, or pause or cancel it first.")
        self._stream = stream

    def release(self) -> None:
        """Give it back."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                if Path(str(read_object(_note()).get("folder", ""))) == self._folder:
                    _note().unlink()
            self._stream.close()
            self._stream = None


def _note() -> Path:
    return lock_path().with_suffix(".json")


def _try_lock(stream: IO[Any]) -> bool:
    try:
        if _WINDOWS:
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
