"""A signal without Qt, so that the same logic serves desktop, browser and scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls its slots in the order they were connected, in the thread that emits.

    The names of the arguments are given once, for whoever reads the code: ``Signal("result")``.
    """

    def __init__(self, *argument_names: str) -> None:
        self._names = argument_names
        self._slots: list[Callable[..., Any]] = []

    def connect(self, slot: Callable[..., Any]) -> None:
        """Call ``slot`` at every emission; connecting it again changes nothing."""
        if slot not in self._slots:
            self._slots.append(slot)

    def disconnect(self, slot: Callable[..., Any]) -> None:
        """Stop calling ``slot``; a slot that is not connected changes nothing."""
        if slot in self._slots:
            self._slots.remove(slot)

    def emit(self, *arguments: Any) -> None:
        """Call the slots with the arguments; raise ``TypeError`` for a wrong number of them."""
        if len(arguments) != len(self._names):
            raise TypeError(f"The signal carries {self._names}, but {len(arguments)} arguments were emitted.")
        for slot in tuple(self._slots):  # a slot may disconnect itself
            slot(*arguments)
