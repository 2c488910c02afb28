"""Events that long-running functions emit, and the token by which they are cancelled.

One vocabulary for the command line, the worker and the panels. A function that takes
``on_event`` calls it with one of the classes below, from the thread it runs in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Union

from hlfd.errors import CancelledError


@dataclass(frozen=True)
class Stage:
    """A named stage of the work begins."""

    name: str


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of the whole work are finished; ``seconds_left`` is None when not yet known."""

    done: float
    total: float
    seconds_left: float | None = None


@dataclass(frozen=True)
class Metric:
    """Named numbers at one step of a run, such as loss terms or validation Dice."""

    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Warn:
    """Something the user should know although the work goes on."""

    message: str


Event = Union[Stage, Progress, Metric, Warn]
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop the event: the default of every ``on_event``."""


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return the event as a dictionary with its kind under ``event``, ready for a JSON line."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


class CancelToken:
    """A thread-safe flag: ``cancel()`` sets it, ``check()`` raises ``CancelledError`` where work may stop."""

    def __init__(self) -> None:
        self._flag = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._flag.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work was asked to stop."""
        return self._flag.is_set()

    def check(self) -> None:
        """Raise ``CancelledError`` if the work was asked to stop."""
        if self._flag.is_set():
            raise CancelledError()


class ProgressClock:
    """Turns a count of finished units into ``Progress`` events with the time left, in seconds."""

    def __init__(self, total: float, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> None:
        self._total = total
        self._on_event = on_event
        self._cancel = cancel
        self._start = time.monotonic()
        self._done = 0.0

    def advance(self, units: float = 1.0) -> None:
        """Count ``units`` as finished, emit ``Progress``, and raise ``CancelledError`` if asked to stop."""
        if self._cancel is not None:
            self._cancel.check()
        self._done = min(self._done + units, self._total)
        elapsed = time.monotonic() - self._start
        left = elapsed / self._done * (self._total - self._done) if self._done > 0 else None
        self._on_event(Progress(self._done, self._total, left))
