"""One job of the worker, as its owner sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import CancelledError, HlfdError
from hlfd.events import Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hlfd.jobs.client import Jobs
    from hlfd.jobs.process import WorkerProcess

_POLL_S = 0.01


class State(Enum):
    """Where a job is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


_FINISHED = (State.DONE, State.FAILED, State.CANCELLED)


class Job:
    """A job that was handed to ``Jobs.submit``. What it says changes only in ``Jobs.poll()`` and ``cancel()``.

    ``result`` holds the answer of a job that is done, ``arrays`` its arrays, memory-mapped and read-only, until
    ``release()``; ``error`` says why it failed.
    """

    def __init__(self, owner: Jobs, number: int, kind: str, arguments: Mapping[str, Any], grace_s: float) -> None:
        self.id = str(number)
        self.kind = kind
        self.arguments = dict(arguments)
        self.grace_s = grace_s
        self.state = State.WAITING
        self.result: dict[str, Any] = {}
        self.arrays: dict[str, NDArray] = {}
        self.error: HlfdError | None = None
        self.folder: Path | None = None
        self.process: WorkerProcess | None = None
        self.sent_at = 0.0
        self.sent_again = False
        self.kill_at = 0.0
        self.doubts = 0
        self._owner = owner
        self._events: list[Event] = []

    @property
    def finished(self) -> bool:
        """Whether the job is done, failed or cancelled."""
        return self.state in _FINISHED

    def add_event(self, event: Event) -> None:
        """Keep an event for ``take_events``; called by ``Jobs.poll()``."""
        self._events.append(event)

    def take_events(self) -> list[Event]:
        """Return the events since the last call, in their order."""
        taken, self._events = self._events, []
        return taken

    def cancel(self) -> None:
        """Ask the job to stop; after ``grace_s`` seconds the worker is killed. The state follows from ``poll()``."""
        self._owner.cancel(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until the job is finished; return False if it is not within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._owner.poll()
            if self.finished:
                return True
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(_POLL_S)

    async def join(self) -> None:
        """Wait in asyncio until the job is finished; a cancelled task cancels the job."""
        try:
            while not self.finished:
                self._owner.poll()
                await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError:
            self.cancel()
            raise

    def check(self) -> None:
        """Raise the error of a job that failed, ``CancelledError`` for one that was cancelled."""
        if self.state is State.CANCELLED:
            raise CancelledError()
        if self.error is not None:
            raise self.error

    def release(self) -> None:
        """Remove the files of a finished job; ``arrays`` must not be used any more."""
        self.arrays = {}
        self._owner.release(self)
