"""One server per data root: a lock that the system releases when the server dies, and what a killed one left."""

from __future__ import annotations

import fcntl
import os
import shutil

from hlfd.errors import BusyError, OutputError
from hlfd_web.files import DataRoot


class RootLock:
    """Held by a server for as long as it lives; ``sessions`` is the folder of the private folders of its sessions."""

    def __init__(self, root: DataRoot) -> None:
        """Take the lock; raise ``BusyError`` where another server has it, ``OutputError`` where nothing can be made."""
        self.sessions = root.hidden / "sessions"
        try:
            self.sessions.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(root.hidden / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(
                f'Nothing can be written to the data folder "{root.folder}": {error.strerror}.',
                "Name a folder that you may write to with --data-root.",
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise BusyError(
                f'Another HLFD server works with the data folder "{root.folder}".',
                "Open the page of that one, stop it, or name another folder with --data-root.",
            ) from error
        for left in self.sessions.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def release(self) -> None:
        """Give it back."""
        os.close(self._handle)
