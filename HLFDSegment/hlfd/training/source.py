"""Where patches come from, and how they reach the loop in a fixed order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hlfd.errors import ConfigError
from hlfd.ranks import Ranks, share_of

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


@dataclass(frozen=True)
class Shares:
    """Which samples a process sees: step s takes s * batch_size .. (s + 1) * batch_size - 1, shared by all processes.

    A step's batch is cut into ``accumulate`` consecutive parts, and each part among the processes, so that a part
    holds the same samples however many processes there are. Raises ``ConfigError`` where a process would get none.
    """

    batch_size: int
    accumulate: int
    ranks: Ranks

    def __post_init__(self) -> None:
        if self.batch_size < self.accumulate * self.ranks.size:
            raise ConfigError(
                f"batch_size {self.batch_size} in {self.accumulate} part(s) leaves some of {self.ranks.size} processes "
                f"without a sample; at least {self.accumulate * self.ranks.size} was expected.",
                "batch_size counts the patches of a step over all processes; use a larger one, or fewer processes.",
            )

    def part(self, part: int) -> range:
        """Return the places within a step's batch of this process's samples in one part."""
        whole = share_of(self.batch_size, self.accumulate, part)
        own = share_of(len(whole), self.ranks.size, self.ranks.rank)
        return whole[own.start : own.stop]

    def weight(self, part: int) -> float:
        """Return the share of these samples in the batch, times the processes (over which a mean is taken)."""
        return len(self.part(part)) / self.batch_size * self.ranks.size

    def steps(self, first: int, last: int) -> Iterable[list[int]]:
        """Return the sample indices of the parts of steps ``first`` .. ``last`` - 1, one list after the other."""
        return _Steps(self, first, last)


@dataclass(frozen=True)
class _Steps:
    """An iterable that a loader can start over (a generator cannot)."""

    shares: Shares
    first: int
    last: int

    def __iter__(self) -> Iterator[list[int]]:
        parts = [self.shares.part(part) for part in range(self.shares.accumulate)]
        for step in range(self.first, self.last):
            start = step * self.shares.batch_size
            yield from ([start + place for place in part] for part in parts)


def batches(
    source: PatchSource, indices: Iterable[list[int]], workers: int = 0, pin: bool = False
) -> Generator[Sample, None, None]:
    """Yield the batches of samples named by ``indices`` in order, whatever the number of workers.

    Workers compute with one thread each and stop when the iterator is closed.
    """
    loader = DataLoader(
        _Indexed(source),
        batch_sampler=indices,
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
