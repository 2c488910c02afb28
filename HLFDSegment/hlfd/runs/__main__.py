"""``python -m hlfd.runs FOLDER``: the process of one run, which outlives whoever started it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from hlfd.errors import CancelledError, HlfdError
from hlfd.events import CancelToken
from hlfd.files import write_bytes, write_json
from hlfd.jobs.protocol import error_to_dict
from hlfd.runs.files import RunFiles, read_object
from hlfd.runs.lock import RunLock, note_holder
from hlfd.runs.process import lives, start_time
from hlfd.runs.recorder import Recorder
from hlfd.runs.run import Run, State, data_of
from hlfd.runs.settings import AnySettings, DistilSettings
from hlfd.worker.classify import classify

_LOOK_S = 0.2
_NICE = 5
_RESERVE = 64 << 10
_UNSETTLED = 3  # exit code of a run that failed


class Supervisor:
    """One run from its first to its last word in ``state.json``."""

    def __init__(self, folder: Path, owner: int) -> None:
        self.run = Run(folder)
        self.files: RunFiles = self.run.files
        self.cancel = CancelToken()
        self.wish = ""
        self._owner = owner, start_time(owner)
        self._lock = RunLock(self.run.folder)

    def main(self) -> int:
        """Do the run and return the exit code."""
        try:
            self._lock.acquire()
        except HlfdError as error:
            return self._failed(error)
        try:
            write_bytes(self.files.reserve, bytes(_RESERVE))
            self._say(State.RUNNING)
        except HlfdError as error:
            return self._failed(error)
        note_holder(self.run.folder, os.getpid(), start_time(os.getpid()))
        return self._work()

    def _work(self) -> int:
        try:
            settings = self.run.settings
            threading.Thread(target=self._watch, args=(settings,), name="watch", daemon=True).start()
            self._train(settings)
        except BaseException as error:  # whatever happens is told to whoever looks at the run
            if isinstance(error, CancelledError) or self.cancel.cancelled:
                return self._stopped()
            return self._failed(classify(error))
        self._lock.release()  # before the last word, upon which another run may begin at once
        self._say(State.FINISHED)
        return 0

    def _train(self, settings: AnySettings) -> None:
        data, recorder = data_of(self.run.folder, settings), Recorder(self.files.events)
        if isinstance(settings, DistilSettings):
            from hlfd.runs.distil import distil

            distil(self.files, settings, data, recorder, self.cancel)
        else:
            from hlfd.runs.work import train

            train(self.files, settings, data, recorder, self.cancel)

    def _watch(self, settings: AnySettings) -> None:
        """Look for requests, and for the owner where the run shall not outlive it."""
        pause = threading.Event()
        while not pause.wait(_LOOK_S):
            wish = str(read_object(self.files.request).get("do", ""))
            if not wish and settings.after_close == "pause" and not lives(*self._owner):
                wish = "pause"
            if wish:
                self.stop(wish)

    def stop(self, wish: str) -> None:
        """End the work at its next safe point; a pause can still become a cancellation."""
        self.wish = wish
        self.cancel.cancel()

    def _stopped(self) -> int:
        with contextlib.suppress(OSError):
            self.files.request.unlink()
        self._lock.release()
        if self.wish == "cancel":
            self.run.mark_cancelled()
        else:
            self._say(State.PAUSED)
        return 0

    def _failed(self, error: HlfdError) -> int:
        logging.getLogger(__name__).error("%s", error)  # goes to the log of the run
        self._lock.release()
        with contextlib.suppress(OSError):
            self.files.reserve.unlink()
        with contextlib.suppress(HlfdError):  # nothing is left to say it with: the run will be found interrupted
            self._say(State.FAILED, error)
        return _UNSETTLED

    def _say(self, state: State, error: HlfdError | None = None) -> None:
        pid = os.getpid()
        group = os.getpgid(0) if os.name == "posix" else 0
        note = {"state": state.value, "pid": pid, "started": start_time(pid), "group": group}
        write_json(self.files.state, {**note, "error": error_to_dict(error) if error else None})


def pause_on_signals(stop: Callable[[str], None]) -> None:
    """Let SIGTERM and SIGINT pause the run, as when the machine is shut down; a second one ends it at once."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop("pause")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def main() -> int:
    """Parse the command line and do the run."""
    parser = argparse.ArgumentParser(prog="python -m hlfd.runs", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--owner", type=int, default=0, help="process that the run pauses with, if it shall")
    given = parser.parse_args()
    supervisor = Supervisor(given.folder, given.owner)
    pause_on_signals(supervisor.stop)
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.nice(_NICE)  # whoever works with Slicer meanwhile comes first
    return supervisor.main()


if __name__ == "__main__":
    sys.exit(main())
