"""Waiting for a device that other sessions of the server use: one job at a time, first come first served."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hlfd_web.device_queue import DeviceQueue, Ticket

if TYPE_CHECKING:
    from hlfd_web.app import Context

FOLDER = "queue"


class Turn:
    """A place in the line of a device: ``begin()`` is called when it is this session's turn, ``waiting(ahead)``
    whenever the number of jobs before it changes. ``end()`` must follow, whatever came of it."""

    def __init__(
        self, context: Context, device: str, begin: Callable[[], None], waiting: Callable[[int], None]
    ) -> None:
        self._context, self._begin, self._waiting = context, begin, waiting
        self._ahead = -1
        self._ticket: Ticket = DeviceQueue(context.data_root.hidden / FOLDER, device).enter()
        self.begun = False
        context.every(self._poll)
        self._poll()

    def end(self) -> None:
        """Let the next one begin; a second call does nothing."""
        self._context.no_more(self._poll)
        self._ticket.release()

    def _poll(self) -> None:
        ahead = self._ticket.poll()
        if ahead == 0:
            self.begun = True
            self._context.no_more(self._poll)
            self._begin()
        elif ahead != self._ahead:
            self._ahead = ahead
            self._waiting(ahead)
