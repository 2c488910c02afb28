"""Runs jobs one after the other, listens for cancellation meanwhile, and leaves when nobody needs it any more."""

from __future__ import annotations

import logging
import os
import platform
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hlfd import __version__
from hlfd.errors import CancelledError, GpuOutOfMemoryError, OutOfMemoryError
from hlfd.events import CancelToken, Event, event_to_dict
from hlfd.jobs.files import ANSWER, IN, REQUEST, open_arrays, read_json, write_json
from hlfd.jobs.protocol import decode, encode, error_to_dict
from hlfd.worker.classify import classify
from hlfd.worker.context import JobContext
from hlfd.worker.registry import find_job
from hlfd.worker.warm import Warm

BEAT_S = 1.0
RELEASE_S = 120.0
"""Seconds without a job after which memory of the GPU is given back."""
logger = logging.getLogger(__name__)


class Server:
    """Speaks the protocol of ``hlfd.jobs.protocol`` on two byte streams.

    ``session`` is the folder of all jobs, removed when the owner is gone; ``owner_lives`` tells whether it is;
    ``end_group`` ends the processes that jobs started.
    """

    def __init__(
        self,
        requests: IO[bytes],
        answers: IO[bytes],
        session: Path,
        packages: Sequence[str] = (),
        owner_lives: Callable[[], bool] = lambda: True,
        end_group: Callable[[], None] = lambda: None,
        idle_exit_s: float = 900.0,
        release_s: float = RELEASE_S,
    ) -> None:
        self._requests, self._answers = requests, answers
        self._session = session
        self._packages = tuple(packages)
        self._owner_lives, self._end_group = owner_lives, end_group
        self._idle_exit_s, self._release_s = idle_exit_s, release_s
        self._writing = threading.Lock()
        self._queue: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._tokens: dict[str, CancelToken] = {}
        self._current: str | None = None
        self._warm = Warm()

    def serve(self) -> None:
        """Work until there is nothing to do for ``idle_exit_s`` seconds; the end of the owner ends the process."""
        versions = {"hlfd": __version__, "python": platform.python_version()}
        self._say({"event": "hello", "pid": os.getpid(), "versions": versions})
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        idle_since, released = time.monotonic(), True
        while time.monotonic() - idle_since < self._idle_exit_s:
            try:
                request = self._queue.get(timeout=min(BEAT_S, self._idle_exit_s))
            except queue.Empty:
                if not released and time.monotonic() - idle_since >= self._release_s:
                    self._warm.release_gpu()
                    released = True
                continue
            self._run(request)
            idle_since, released = time.monotonic(), False
        self._say({"event": "bye"})

    def _listen(self) -> None:
        for line in iter(self._requests.readline, b""):
            message = decode(line)
            if message is None:
                logger.warning("A request could not be read: %r", line[:200])
            elif message.get("do") == "run":
                self._tokens[str(message["job"])] = CancelToken()
                self._queue.put(message)
            elif message.get("do") == "cancel" and (token := self._tokens.get(str(message.get("job")))) is not None:
                token.cancel()
            elif message.get("do") == "leave":
                self._exit()  # its owner stays, and keeps the files
        self._leave()

    def _beat(self) -> None:
        while True:
            self._say({"event": "alive", "job": self._current})
            time.sleep(BEAT_S)
            if not self._owner_lives():
                self._leave()

    def _leave(self) -> None:
        """End at once, also in the middle of a long native call: nobody waits for the result any more."""
        shutil.rmtree(self._session, ignore_errors=True)
        self._exit()

    def _exit(self) -> None:
        self._end_group()
        os._exit(0)

    def _run(self, request: Mapping[str, Any]) -> None:
        job, folder = str(request["job"]), Path(str(request["folder"]))
        token = self._tokens[job]
        self._current = job
        self._say({"event": "accepted", "job": job})
        outcome: dict[str, Any] = {"event": "done"}
        try:
            token.check()
            self._work(job, str(request["kind"]), folder, token)
            token.check()
        except BaseException as error:  # whatever happens in a job is told to its owner, and the worker lives on
            known = CancelledError() if token.cancelled else classify(error)
            outcome = {"event": "error", "error": error_to_dict(known)}
            if isinstance(known, (OutOfMemoryError, GpuOutOfMemoryError)):
                self._warm.clear()  # what is kept warm is the first that can be spared
        self._current = None
        del self._tokens[job]
        self._say({**outcome, "job": job})

    def _work(self, job: str, kind: str, folder: Path, token: CancelToken) -> None:
        run = find_job(kind, self._packages)
        arguments = read_json(folder / REQUEST)["arguments"]

        def report(event: Event) -> None:
            self._say({**event_to_dict(event), "job": job})

        context = JobContext(folder, arguments, open_arrays(folder, IN), report, token, self._warm)
        write_json(folder / ANSWER, run(context))

    def _say(self, message: Mapping[str, Any]) -> None:
        try:
            with self._writing:
                self._answers.write(encode(message))
                self._answers.flush()
        except (OSError, ValueError):  # the owner is gone
            self._leave()


def own_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Return stdin and stdout for the protocol alone: what others print goes to stderr, and nobody else reads stdin."""
    sys.stdout.flush()
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers
