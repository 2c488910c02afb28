"""Work shared out to processes: all of it is done, progress is told, and an error or a cancellation ends it."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial

import pytest

from hlfd.errors import CancelledError
from hlfd.events import CancelToken, Progress, ProgressClock
from hlfd.processes import run_all

THREE, TWO, WRONG = partial(len, "abc"), partial(len, "de"), partial(int, "no number")


def clock(total: int, events: list, cancel: CancelToken | None = None) -> ProgressClock:
    return ProgressClock(total, events.append, cancel)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_call_is_made_and_its_result_counted(processes):
    events: list[Progress] = []
    run_all([THREE, TWO], processes, clock(5, events))
    assert events[-1].done == events[-1].total == 5


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_ends_the_work(processes):
    with pytest.raises(ValueError, match="no number"):
        run_all([WRONG, THREE], processes, clock(5, []))


def test_an_error_breaks_off_what_runs_beside_it():
    start = time.monotonic()
    with pytest.raises(ValueError, match="no number"):
        run_all([partial(_sleep, 300.0), WRONG, partial(_sleep, 300.0), partial(_sleep, 300.0)], 2, clock(5, []))
    for worker in multiprocessing.active_children():
        worker.join(30)
    assert time.monotonic() - start < 120
    assert multiprocessing.active_children() == []


def _sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 1


def test_a_cancellation_ends_the_work():
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        run_all([THREE, TWO], 1, clock(5, [], cancel))
