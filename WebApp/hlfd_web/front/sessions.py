"""The sessions of a server: who has which process, one spare kept ready, and an end for those nobody uses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hlfd.errors import BusyError, HlfdError
from hlfd_web.front.child import Child

LEFT_SECONDS = 15.0  # a page that is loaded again comes back within
NEVER_OPENED_SECONDS = 120.0
SPARE_SECONDS = 3.0
_LOOK_SECONDS = 1.0
_REMEMBERED = 500
RESTARTED = "The server was started again. Finished results, projects and own models are kept."

_log = logging.getLogger(__name__)


@dataclass
class Session:
    """One browser. ``child`` is there once ``starting`` is done; ``sockets`` counts its open pages."""

    key: str
    starting: asyncio.Task[Child]
    sockets: int = 0
    opened: bool = False
    uploads: int = 0
    left: float | None = None
    used: float = field(default_factory=time.monotonic)
    closers: list[Callable[[], None]] = field(default_factory=list)
    batches: dict[str, Any] = field(default_factory=dict)

    @property
    def child(self) -> Child | None:
        """The process, None while it starts or when that failed."""
        done = self.starting.done() and not self.starting.cancelled() and self.starting.exception() is None
        return self.starting.result() if done else None

    def touch(self) -> None:
        """Note that the session is being used."""
        self.used = time.monotonic()

    def page_opened(self) -> None:
        """Note a page with a connection."""
        self.sockets += 1
        self.opened = True
        self.left = None
        self.touch()

    def page_closed(self) -> None:
        """Note that the connection of a page is gone."""
        self.sockets -= 1
        self.touch()

    def page_left(self) -> None:
        """Note that a page said that it is being closed."""
        self.left = time.monotonic()


class Sessions:
    """All sessions by the value of their cookie."""

    def __init__(self, make_child: Callable[[], Child], most: int, idle_seconds: float) -> None:
        self._make_child = make_child
        self._most = most
        self._idle_seconds = idle_seconds
        self._sessions: dict[str, Session] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._spare: asyncio.Task[Child] | None = None
        self._spare_at = 0.0
        self._ending: set[asyncio.Task[None]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def all(self) -> tuple[Session, ...]:
        """Those that live now."""
        return tuple(self._sessions.values())

    def open(self) -> None:
        """Start the first spare process and the watch over all."""
        self._spare = asyncio.create_task(self._start_child())
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End all."""
        self._closing = True
        if self._watcher is not None:
            self._watcher.cancel()
        for session in self.all:
            self.end(session, "The server was stopped.")
        if self._spare is not None:
            self._ending.add(asyncio.create_task(self._end_child(self._spare)))
            self._spare = None
        if self._ending:
            await asyncio.wait(self._ending)

    def find(self, key: str) -> Session | None:
        """Return the session of a cookie."""
        return self._sessions.get(key)

    def create(self) -> Session:
        """Return a new session, which takes the spare process; raise ``BusyError`` when all places are taken."""
        if self.full:
            raise BusyError(
                f"All {self._most} places of this server are taken.", "Close another page of HLFD, or wait a moment."
            )
        starting = self._spare or asyncio.create_task(self._start_child())
        self._spare, self._spare_at = None, time.monotonic() + SPARE_SECONDS
        session = Session(secrets.token_urlsafe(24), starting)
        self._sessions[session.key] = session
        return session

    @property
    def full(self) -> bool:
        """Whether no further session can be made."""
        return len(self._sessions) >= self._most

    def end(self, session: Session, reason: str) -> None:
        """Take a session out and end its process; a page that asks for it later is told the reason."""
        if self._sessions.pop(session.key, None) is None:
            return
        self._ended[session.key] = reason
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        for close in tuple(session.closers):
            close()
        task = asyncio.create_task(self._end_child(session.starting))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def state(self, key: str) -> dict[str, str]:
        """Return what a page is told about its session: ready, starting, failed, ended, full, none or stopped."""
        if self._closing:
            return {"state": "stopped", "message": "The server was stopped."}
        session = self.find(key)
        if session is not None and session.child is not None and not session.child.alive:
            self.end(session, self._reason_to_end(session, time.monotonic()))
            session = None
        if session is not None and session.starting.done():
            failed = session.starting.exception() if not session.starting.cancelled() else None
            if failed is not None:
                return {"state": "failed", "message": str(failed)}
            return {"state": "ready", "message": ""}
        if session is not None:
            return {"state": "starting", "message": ""}
        if key in self._ended:
            return {"state": "ended", "message": self._ended[key]}
        if self.full:
            return {"state": "full", "message": f"All {self._most} places of this server are taken. Waiting..."}
        return {"state": "none", "message": RESTARTED if key else ""}

    async def _start_child(self) -> Child:
        child = self._make_child()
        begun = time.monotonic()
        try:
            await child.start()
        except HlfdError as error:
            _log.error("%s\n%s", error, child.said())
            raise
        _log.info("a session process started in %.1f s", time.monotonic() - begun)
        return child

    async def _end_child(self, starting: asyncio.Task[Child]) -> None:
        if not starting.done():
            starting.cancel()
        with contextlib.suppress(HlfdError, asyncio.CancelledError):
            await (await starting).end()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """End what nobody uses or what died, and make a new spare when it is time."""
        for session in self.all:
            reason = self._reason_to_end(session, now)
            if reason:
                self.end(session, reason)
        spare = self._spare
        if spare is not None and spare.done() and (spare.exception() is not None or not spare.result().alive):
            self._ending.add(asyncio.create_task(self._end_child(spare)))
            self._spare, self._spare_at = None, now + 60.0  # not in a circle where it cannot start
        if self._spare is None and now >= self._spare_at and not self.full and not self._page_opens(now):
            self._spare = asyncio.create_task(self._start_child())

    def _page_opens(self, now: float) -> bool:
        """Return whether a page is being opened, which needs the processor more than a spare process does."""
        return any(not each.starting.done() or (not each.opened and now - each.used < 30) for each in self.all)

    def _reason_to_end(self, session: Session, now: float) -> str:
        if session.child is not None and not session.child.alive:
            _log.error("a session process ended by itself\n%s", session.child.said())
            return "Its process ended unexpectedly. Finished results, projects and own models are kept."
        if session.sockets == 0 and session.uploads == 0:
            if session.left is not None and now - session.left > LEFT_SECONDS:
                return "The page was closed."
            if not session.opened and now - session.used > NEVER_OPENED_SECONDS:
                return "The page was never opened."
        if now - session.used > self._idle_seconds:
            return "It was not used for a while. Finished results, projects and own models are kept."
        return ""
