"""Work shared among threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_threaded(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Call ``work`` on every item in up to ``threads`` threads and return the results in the order of the items.

    NumPy and SimpleITK free the interpreter while they compute.
    """
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
