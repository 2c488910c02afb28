"""What the command line shows: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import json
from typing import Any, TextIO

from hlfd.cli.plain import plain
from hlfd.cli.progress import PlainProgress, ProgressView, TerminalProgress
from hlfd.errors import HlfdError
from hlfd.events import Event, Metric, Progress, Stage, Warn


class Console:
    """Text for people, or with ``as_json`` exactly one JSON object on ``out``; progress goes to ``err``."""

    def __init__(self, out: TextIO, err: TextIO, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = out
        self._err = err
        self._view: ProgressView | None = None
        self._label = ""
        self._done = False

    @property
    def _progress(self) -> ProgressView:
        if self._view is None:
            self._view = TerminalProgress(self._err) if self._err.isatty() else PlainProgress(self._err)
        return self._view

    def say(self, text: str = "") -> None:
        """Show a line of the result, unless the result is JSON."""
        if not self.as_json:
            self.close()
            print(text, file=self._out, flush=True)

    def note(self, text: str) -> None:
        """Show a line beside the result, on stderr."""
        self._progress.line(text)

    def result(self, value: dict[str, Any]) -> None:
        """Print the JSON object if ``--json`` was given; call it once, at the end."""
        if self.as_json and not self._done:
            self._done = True
            self.close()
            print(json.dumps(plain(value), indent=1, allow_nan=False), file=self._out, flush=True)

    def fail(self, error: HlfdError) -> None:
        """Show an error: one sentence on stderr, with ``--json`` also an object with ``error`` on stdout."""
        self.close()
        print(f"hlfd: {error}", file=self._err, flush=True)
        self.result({"error": error.to_dict()})

    def case(self, label: str) -> None:
        """Name the case that the following events belong to."""
        self._label = label

    def on_event(self, event: Event) -> None:
        """Show an event of the engine."""
        if isinstance(event, Progress):
            self._progress.progress(self._label, event)
        elif isinstance(event, Stage):
            self._progress.stage(self._label, event.name)
        elif isinstance(event, Warn):
            self.note(f"{self._label}: warning: {event.message}" if self._label else f"warning: {event.message}")
        elif isinstance(event, Metric):
            self._progress.metric(self._label, event)

    def close(self) -> None:
        """Take the progress display off the terminal."""
        if self._view is not None:
            self._view.close()
            self._view = None
