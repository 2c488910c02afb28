"""What stays loaded from job to job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
_KEPT = 3
logger = logging.getLogger(__name__)


class Warm:
    """Keeps the things that were used last, such as loaded models."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._things: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the thing kept under ``key``, made by ``make`` where there is none."""
        found: T = self._things.pop(key) if key in self._things else self._make_room(make)
        self._things[key] = found  # the last used is the last in order
        return found

    def drop(self, key: Hashable) -> None:
        """Forget a thing."""
        self._things.pop(key, None)

    def clear(self) -> None:
        """Forget everything, and give memory of the GPU back."""
        self._things.clear()
        empty_gpu_cache()

    def release_gpu(self) -> None:
        """Forget the things whose ``device`` is a GPU, and give its memory back; what lies in RAM stays."""
        for key in [key for key, thing in self._things.items() if str(getattr(thing, "device", "")).startswith("cuda")]:
            del self._things[key]
        empty_gpu_cache()

    def _make_room(self, make: Callable[[], T]) -> T:
        while len(self._things) >= self._kept:
            del self._things[next(iter(self._things))]
        return make()


def empty_gpu_cache() -> None:
    """Give back the memory of the GPU that torch holds without using it; nothing where torch was not used."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    try:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    except RuntimeError:  # a GPU that fell off the bus must not end the worker
        logger.exception("The memory of the GPU could not be given back")
