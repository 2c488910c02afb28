"""Work in small steps: what takes long goes to the worker or a thread, and the rest is cut into pieces.

A task is a generator. It yields True where it can go on at once, and False where it waits for something; ``Steps.poll``
gives it a few milliseconds at a time. Its return value is the result; ``CancelledError`` is thrown into it to stop it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

from numpy.typing import NDArray

from hlfd.errors import CancelledError, HlfdError, UsageError
from hlfd.events import OnEvent
from hlfd.jobs import Job, Jobs
from hlfd.jobs.courier import Courier

Task = Generator[bool, None, Any]
BUDGET_S = 0.03
_POLL_S = 0.005


class Steps:
    """One task at a time, with its name and how it ends: ``on_end(name, result, error)``, one of the two None."""

    def __init__(self, on_end: Callable[[str, Any, HlfdError | None], None]) -> None:
        self.name = ""
        self._on_end = on_end
        self._task: Task | None = None
        self._cancelled = False

    def start(self, name: str, task: Task) -> None:
        """Begin a task; raise ``UsageError`` while another one is under way."""
        if self._task is not None:
            raise UsageError(f"Another task is under way: {self.name}.", "Wait for it, or cancel it first.")
        self.name, self._task, self._cancelled = name, task, False

    def cancel(self) -> None:
        """Stop the task at the next ``poll``."""
        self._cancelled = self._task is not None

    def poll(self) -> str:
        """Go on with the task for about ``BUDGET_S`` seconds and return its name while it is under way."""
        end = time.monotonic() + BUDGET_S
        while self._task is not None and self._step() and time.monotonic() < end:
            pass
        return self.name

    def wait(self, timeout: float | None = None) -> bool:
        """Poll until the task has ended, for scripts; return False if it has not within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll():
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(_POLL_S)
        return True

    def _step(self) -> bool:
        """Return whether the task can go on at once."""
        if self._task is None:
            return False
        try:
            if self._cancelled:
                self._cancelled = False
                return self._task.throw(CancelledError())
            return next(self._task)
        except StopIteration as stop:
            self._end(stop.value, None)
        except HlfdError as error:
            self._end(None, error)
        except Exception as error:  # the panel must hear of the end in any case
            logging.getLogger(__name__).error("Unexpected error in the task %s", self.name, exc_info=error)
            text = f"{self.name} stopped with an unexpected {type(error).__name__}: {error}."
            self._end(None, HlfdError(text, "See the application log, and report it with that log."))
        return False

    def _end(self, result: Any, error: HlfdError | None) -> None:
        name, self.name, self._task = self.name, "", None
        self._on_end(name, result, error)


def in_worker(
    jobs: Jobs,
    kind: str,
    arguments: Mapping[str, Any],
    arrays: Mapping[str, NDArray] | None,
    on_event: OnEvent,
) -> Generator[bool, None, Job]:
    """Run a job and return it done; its arrays must be released by the caller. Raises its error."""
    job = jobs.submit(kind, arguments, arrays)
    try:
        yield from _follow(jobs, job, on_event)
    except CancelledError:
        job.cancel()
        yield from _follow(jobs, job, on_event)
        job.release()
        raise
    try:
        job.check()
    except HlfdError:
        job.release()
        raise
    return job


def _follow(jobs: Jobs, job: Job, on_event: OnEvent) -> Task:
    while not job.finished:
        yield False
        jobs.poll()
        for event in job.take_events():
            on_event(event)


def in_thread(courier: Courier, work: Callable[[], Any]) -> Task:
    """Run ``work`` in the courier's thread and return what it returns; raises what it raises.

    A task that is cancelled does not wait for it: what it writes is whole all the same.
    """
    outcome: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as error:  # raised again below, in the owner's thread
            outcome.append((None, error))

    courier.send(run)
    while not outcome:
        yield False
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
