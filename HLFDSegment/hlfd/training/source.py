"""Where patches come from, and how they reach the loop in a fixed order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

Sample = dict[str, Tensor]


class PatchSource(Protocol):
    """Makes training patches.

    ``sample(index)`` is a pure function of the source's own seed and ``index`` >= 0, endless, and safe in a worker
    process; it returns ``image`` (C, k, j, i) float32 and ``label`` (k, j, i) uint8 or int64, and what else the
    objective needs. Being pure is what makes a resumed run equal an unbroken one.
    """

    def sample(self, index: int) -> Sample:
        """Return the patch ``index``."""
        ...


class _Indexed(Dataset[Sample]):
    def __init__(self, source: PatchSource) -> None:
        self._source = source

    def __getitem__(self, index: int) -> Sample:
        return self._source.sample(index)


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)


def batches(
    source: PatchSource, batch_size: int, first_step: int, last_step: int, workers: int = 0, pin: bool = False
) -> Generator[Sample, None, None]:
    """Yield the batches of steps ``first_step`` .. ``last_step`` - 1 in order, whatever the number of workers.

    Batch of step s holds the samples s * batch_size .. (s + 1) * batch_size - 1. Workers compute with one thread
    each and stop when the iterator is closed.
    """
    loader = DataLoader(
        _Indexed(source),
        batch_size=batch_size,
        sampler=range(first_step * batch_size, last_step * batch_size),
        num_workers=workers,
        worker_init_fn=_single_thread,
        prefetch_factor=2 if workers else None,
        pin_memory=pin,
        generator=torch.Generator(),  # its own, so that starting workers draws nothing from the loop's randomness
    )
    with _child_signals_restored():
        yield from loader


@contextlib.contextmanager
def _child_signals_restored() -> Iterator[None]:
    """Take back torch's handler of dying workers afterwards, or it runs for every other child of the process too."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, previous or signal.SIG_DFL)
