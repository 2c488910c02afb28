"""The process of one browser session, as the front sees it: started with a secret, ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from hlfd.errors import WorkerDiedError
from hlfd_web.front.guard import VARIABLE

_START_SECONDS = 90.0
_LEAVE_SECONDS = 3.0
_log = logging.getLogger(__name__)


class Child:
    """A session process with its private folder. ``port`` and ``secret`` are how to reach it once it has started."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = 0
        self.secret = secrets.token_urlsafe(32)
        self._command = [*command, "--folder", str(folder)]
        self._environment = dict(environment)
        self._process: Process | None = None
        self._said: deque[str] = deque(maxlen=200)
        self._readers: list[asyncio.Task[None]] = []
        self.gone = asyncio.Event()

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and not self.gone.is_set()

    async def start(self) -> None:
        """Start it and wait until it serves; raise ``WorkerDiedError`` when it does not get that far."""
        self.folder.mkdir(mode=0o700, parents=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=1 << 20,
                env={**os.environ, **self._environment, VARIABLE: self.secret},
                start_new_session=True,
            )
        except OSError as error:
            await self.end(0)
            raise WorkerDiedError(f"The process of a session could not be started: {error.strerror}.") from error
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._readers = [asyncio.create_task(self._read_out(port)), asyncio.create_task(self._read_errors())]
        self._watcher = asyncio.create_task(self._watch())
        try:
            self.port = await asyncio.wait_for(asyncio.shield(port), _START_SECONDS)
        except asyncio.TimeoutError:
            pass
        except asyncio.CancelledError:
            await self.end(0)
            raise
        if not self.port:
            await self.end(0)
            raise WorkerDiedError(
                f"The process of a session did not start: {self.last_words() or 'it said nothing'}.",
                "See the terminal of the server; python -m hlfd_web --verbose tells more.",
            )

    async def end(self, patience: float = _LEAVE_SECONDS) -> None:
        """Let it leave by itself, kill it after ``patience`` seconds with all it started, and remove its folder."""
        process = self._process
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.gone.wait(), patience)
            with contextlib.suppress(ProcessLookupError, PermissionError):  # its group may hold others still
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            for reader in self._readers:
                reader.cancel()
        await asyncio.to_thread(shutil.rmtree, self.folder, True)

    def last_words(self) -> str:
        """Return the last line that it printed."""
        return next((line for line in reversed(self._said) if line.strip()), "")[:300]

    def said(self) -> str:
        """Return the last lines that it printed."""
        return "\n".join(self._said)

    async def _watch(self) -> None:
        if self._process is not None:
            await self._process.wait()
        self.gone.set()

    async def _read_out(self, port: asyncio.Future[int]) -> None:
        async for line in self._lines(self._process.stdout if self._process else None):
            found = _port(line)
            if found and not port.done():
                port.set_result(found)
            else:
                self._keep(line)
        if not port.done():
            port.set_result(0)

    async def _read_errors(self) -> None:
        async for line in self._lines(self._process.stderr if self._process else None):
            self._keep(line)

    async def _lines(self, stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:  # a line beyond the limit was dropped
                continue
            if not line:
                return
            yield line

    def _keep(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip()
        self._said.append(text)
        _log.debug("session %d: %s", self.pid, text)


def _port(line: bytes) -> int:
    """Return the port that a line tells, 0 for any other line."""
    try:
        port = json.loads(line)["port"]
    except (ValueError, KeyError, TypeError):
        return 0
    return port if isinstance(port, int) and 0 < port < 65536 else 0
