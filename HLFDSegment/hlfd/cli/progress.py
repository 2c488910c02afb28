"""Progress with the time left: a bar on a terminal, few plain lines otherwise."""

from __future__ import annotations

import time
from typing import Any, Protocol, TextIO

from hlfd.events import Metric, Progress
from hlfd.words import duration

_FIRST_LINE_S = 3.0
_LINE_EVERY_S = 10.0
_BAR_AFTER_S = 0.4


class ProgressView(Protocol):
    """A display of progress."""

    def line(self, text: str) -> None:
        """Show a line of text."""

    def stage(self, label: str, name: str) -> None:
        """Show that a stage begins."""

    def progress(self, label: str, event: Progress) -> None:
        """Show how much is done."""

    def metric(self, label: str, event: Metric) -> None:
        """Show numbers of one step."""

    def close(self) -> None:
        """Remove the display."""


def _left(event: Progress) -> str:
    return f", {duration(event.seconds_left)} left" if event.seconds_left is not None else ""


def _values(event: Metric) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in event.values.items())


class PlainProgress:
    """Lines for logs and pipes: a line every ten seconds, none for work that takes less than three."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = time.monotonic() + _FIRST_LINE_S
        self._stage = ""

    def line(self, text: str) -> None:
        """Show a line of text."""
        print(text, file=self._stream, flush=True)

    def stage(self, label: str, name: str) -> None:
        """Keep the name for the next line."""
        self._stage = name

    def progress(self, label: str, event: Progress) -> None:
        """Show a line if the last is long enough ago."""
        if time.monotonic() >= self._next and event.total > 0:
            self._next = time.monotonic() + _LINE_EVERY_S
            what = " ".join(word for word in (label, self._stage) if word)
            self.line(f"{what}: {100 * event.done / event.total:.0f} %{_left(event)}")

    def metric(self, label: str, event: Metric) -> None:
        """Show a line if the last is long enough ago."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY_S
            self.line(f"{label or self._stage} step {event.step}: {_values(event)}")

    def close(self) -> None:
        """Nothing is left to remove."""


class TerminalProgress:
    """A bar with the time left; it appears when the work takes long enough to wonder."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begin = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._metric = ""

    def _show(self, label: str) -> None:
        if self._bar is None:
            from rich.console import Console as RichConsole  # imported late: most runs end before a bar is due
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}", markup=False),
            )
            self._bar = Progress(*columns, console=RichConsole(file=self._stream, markup=False), transient=True)
            self._task = self._bar.add_task("", total=1.0, left="")
            self._bar.start()
        what = " ".join(word for word in (label, self._stage, self._metric) if word)
        self._bar.update(self._task, description=what)

    def line(self, text: str) -> None:
        """Show a line of text above the bar."""
        if self._bar is None:
            print(text, file=self._stream, flush=True)
        else:
            self._bar.console.print(text, highlight=False)

    def stage(self, label: str, name: str) -> None:
        """Show that a stage begins."""
        self._stage = name
        if time.monotonic() - self._begin >= _BAR_AFTER_S:
            self._show(label)

    def progress(self, label: str, event: Progress) -> None:
        """Move the bar."""
        if time.monotonic() - self._begin >= _BAR_AFTER_S:
            self._show(label)
            left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"
            self._bar.update(self._task, completed=event.done, total=event.total or 1.0, left=left)

    def metric(self, label: str, event: Metric) -> None:
        """Show numbers beside the bar."""
        self._metric = f"step {event.step}: {_values(event)}"
        self._show(label)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
