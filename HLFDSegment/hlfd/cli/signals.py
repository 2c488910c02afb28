"""Ctrl-C and SIGTERM cancel the work where it can stop cleanly; a second one interrupts it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hlfd.events import CancelToken

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def cancel_on_signals() -> Iterator[CancelToken]:
    """Yield a token that the first SIGINT or SIGTERM cancels; the second raises ``KeyboardInterrupt``."""
    token = CancelToken()

    def handle(number: int, frame: FrameType | None) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield token
        return
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupt_at_once() -> Iterator[None]:
    """Let the first signal already raise ``KeyboardInterrupt``: for work that has no point to stop at."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
