"""One job at a time per device, over all session processes of a server: a line of tickets in a folder.

A ticket is a file that its process holds locked. The system lets go of the lock when the process dies, however it
dies, so whoever looks at the line next takes such a ticket out. Nobody waits: a ticket is polled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

_TICKET = re.compile(r"(\d{12})\.ticket")


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Ticket:
    """A place in the line of a device. It is this ticket's turn when ``poll`` returns 0, until ``release``."""

    def __init__(self, queue: DeviceQueue, number: int, handle: int) -> None:
        self._queue = queue
        self._number = number
        self._handle: int | None = handle

    @property
    def held(self) -> bool:
        """Whether the ticket is still in the line."""
        return self._handle is not None

    def poll(self) -> int:
        """Return how many jobs are ahead; 0 means go. Quick enough for the loop of a server."""
        if self._handle is None:
            raise ValueError("the ticket was released")
        return self._queue._ahead(self._number)

    def release(self) -> None:
        """Leave the line: after the job, or instead of it. A second call does nothing."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._queue._path(self._number).unlink()
            os.close(self._handle)
            self._handle = None

    cancel = release


class DeviceQueue:
    """The line of one device, first come first served; a session that wants another job goes to its end."""

    def __init__(self, folder: Path, device: str) -> None:
        """Keep the line of ``device`` ("cpu", "cuda:0") in a sub-folder of ``folder``, which all processes share."""
        self.folder = Path(folder) / re.sub(r"\W", "-", device)
        self.folder.mkdir(parents=True, exist_ok=True)

    def enter(self) -> Ticket:
        """Take a ticket at the end of the line."""
        with self._locked():
            number = max((number for number, _ in self._tickets()), default=0) + 1
            number = max(number, self._last() + 1)
            handle = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            _try_lock(handle)
            (self.folder / "last").write_text(str(number), encoding="ascii")
        return Ticket(self, number, handle)

    def length(self) -> int:
        """Return how many jobs run or wait."""
        return self._ahead(1 << 62)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.ticket"

    def _last(self) -> int:
        """Return the number given last, so that no number comes twice; an unreadable note counts as none."""
        try:
            return int((self.folder / "last").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def _tickets(self) -> list[tuple[int, Path]]:
        named = ((_TICKET.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match.group(1)), path) for match, path in named if match)

    def _ahead(self, number: int) -> int:
        with self._locked():
            return sum(self._is_held(path) for other, path in self._tickets() if other < number)

    @staticmethod
    def _is_held(path: Path) -> bool:
        """Return whether a living process holds the ticket; remove one whose process is gone."""
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not _try_lock(handle):
                return True
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Change and look at the line alone; held for well below a millisecond."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
