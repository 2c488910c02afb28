"""The folder of a run: what its process writes there and what others read.

``settings.json`` what it does; ``state.json`` how it stands: state, process, error; ``request.json`` what it is asked
to do; ``events.jsonl`` its events, one JSON object a line; ``log.txt`` what it printed; ``samples/`` example slices;
``work/`` the training itself; ``result.json`` and ``predictions/`` the outcome.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from hlfd.events import Event
from hlfd.jobs.protocol import event_from


@dataclass(frozen=True)
class Sample:
    """An example slice after a validation: a file with ``image`` (int16 HU), ``label`` and ``prediction`` (uint8)."""

    step: int
    file: str
    """Path relative to the run's folder; ``names`` in it are the classes, background first."""


RunEvent = Union[Event, Sample]


@dataclass(frozen=True)
class RunFiles:
    """The files of one run."""

    folder: Path

    @property
    def settings(self) -> Path:
        """What the run does."""
        return self.folder / "settings.json"

    @property
    def state(self) -> Path:
        """How the run stands."""
        return self.folder / "state.json"

    @property
    def request(self) -> Path:
        """What the run is asked to do: pause or cancel."""
        return self.folder / "request.json"

    @property
    def events(self) -> Path:
        """What the run reports."""
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        """What its process printed."""
        return self.folder / "log.txt"

    @property
    def reserve(self) -> Path:
        """Some bytes that are given up on a full disk, so that the run can still say why it stopped."""
        return self.folder / "reserve.bin"

    @property
    def work(self) -> Path:
        """Where it trains."""
        return self.folder / "work"

    @property
    def samples(self) -> Path:
        """Example slices."""
        return self.folder / "samples"

    @property
    def predictions(self) -> Path:
        """Label maps of the held-out cases, before and after."""
        return self.folder / "predictions"

    @property
    def result(self) -> Path:
        """The outcome."""
        return self.folder / "result.json"


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty where it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict):
            return values
    return {}


class EventReader:
    """Reads the lines of ``events.jsonl`` that are new since the last time; a torn or foreign line is left out."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0

    def read(self) -> list[RunEvent]:
        """Return the new events."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except OSError:
            return []
        end = data.rfind(b"\n") + 1  # the rest is not written yet
        self._offset += end
        return [event for line in data[:end].splitlines() if (event := _event(line)) is not None]


def _event(line: bytes) -> RunEvent | None:
    try:
        values = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    if values.get("event") == "sample":
        with contextlib.suppress(KeyError, TypeError, ValueError):
            return Sample(int(values["step"]), str(values["file"]))
        return None
    return event_from(values)
