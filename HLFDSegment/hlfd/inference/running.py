"""What one segmentation gathers on its way: time per stage, warnings, progress; and where it looks for a cancel."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hlfd.events import CancelToken, OnEvent, Progress, Stage, Warn


@dataclass
class Running:
    """What one run gathers on its way."""

    on_event: OnEvent
    cancel: CancelToken | None
    timing: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    done: float = 0.0
    _last: tuple[str, float] | None = None
    _start: float = field(default_factory=time.perf_counter)

    def stage(self, name: str) -> None:
        """Close the stage before and begin the next; stop here if cancelled."""
        self.close()
        if self.cancel is not None:
            self.cancel.check()
        self._last = (name, time.perf_counter())
        self.on_event(Stage(name))

    def close(self) -> None:
        """Add the time of the open stage to ``timing``."""
        if self._last is not None:
            name, begin = self._last
            self.timing[name] = self.timing.get(name, 0.0) + time.perf_counter() - begin
            self._last = None

    def progress(self, done: float, total: float) -> None:
        """Report ``done`` of ``total`` parts of the whole run."""
        self.done = done
        elapsed = time.perf_counter() - self._start
        self.on_event(Progress(done, total, elapsed / done * (total - done) if done else None))

    def warn(self, message: str) -> None:
        """Keep a warning for the result and tell it at once; the same one only once."""
        if message not in self.warnings:
            self.warnings.append(message)
            self.on_event(Warn(message))
