"""Work shared out to processes of this machine, each with one thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from hlfd.events import ProgressClock


def run_all(calls: Sequence[Callable[[], int]], processes: int, clock: ProgressClock) -> None:
    """Run ``calls`` in any order, in ``processes`` processes or, with one, here; what each returns advances ``clock``.

    Calls must be picklable, such as ``functools.partial`` of a module's function. The first error, or the clock's
    cancellation, ends the work: no further call is started, and those that run are broken off, so what they write must
    not look whole before it is.
    """
    if processes == 1 or len(calls) < 2:
        for call in calls:
            clock.advance(call())
        return
    others = set(multiprocessing.active_children())
    # Spawned, not forked: a forked process hangs in torch once the parent has used its threads.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _single_thread) as executor:
        running = [executor.submit(call) for call in calls]
        try:
            for done in as_completed(running):
                clock.advance(done.result())
        except BaseException:  # also a cancellation: calls take minutes, and those queued would still be worked off
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)
