"""A thread for what may take long: starting a process, writing an array, removing a folder."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path


class Courier:
    """Runs errands one after the other in a thread of its own, which begins with the first."""

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._leftovers: list[Path] = []

    def send(self, errand: Callable[[], None]) -> None:
        """Run ``errand`` soon."""
        self._errands.put(errand)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hlfd-courier", daemon=True)
            self._thread.start()

    def remove(self, folder: Path) -> None:
        """Remove a folder soon; where a file is still open (Windows), try again with the next one."""
        self.send(lambda: self._remove(folder))

    def close(self, timeout: float) -> None:
        """Finish the errands that were sent."""
        if self._thread is not None:
            self._errands.put(None)
            self._thread.join(timeout)

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run one errand, and keep nothing of it: it may hold a large array."""
        errand = self._errands.get()
        if errand is None:
            return False
        try:
            errand()
        except Exception:  # the thread must live on for the next errand
            logging.getLogger(__name__).exception("An errand of the worker's client failed")
        return True

    def _remove(self, folder: Path) -> None:
        waiting, self._leftovers = [*self._leftovers, folder], []
        for path in waiting:
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                self._leftovers.append(path)
