"""Writes what a run reports to its folder: events in the words of its panel, one JSON object a line."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from hlfd.events import Event, Metric, Progress, event_to_dict
from hlfd.files import output_error

_EVERY_S = 0.2
_NAMES = {
    "train/loss": "loss",
    "train/segmentation": "loss/dice_ce",
    "validation/dice": "dice",
}
_PARTS = {"train/": "loss/", "validation/dice_": "dice/"}
_LEFT_OUT = ("train/lr", "train/gradient_norm")


class Recorder:
    """Appends to ``events.jsonl``; progress at most five times a second. May be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._told = 0.0
        _end_line(path)

    def on_event(self, event: Event) -> None:
        """Write an event; raises ``DiskFullError`` or ``OutputError``."""
        if isinstance(event, Progress):
            now = time.monotonic()
            if event.done < event.total and now - self._told < _EVERY_S:
                return
            self._told = now
        if isinstance(event, Metric):
            values = panel_names(event.values)
            if not values:
                return
            event = Metric(event.step, values)
        self.write(event_to_dict(event))

    def sample(self, step: int, path: Path) -> None:
        """Write that there is an example slice."""
        self.write({"event": "sample", "step": step, "file": path.relative_to(self._path.parent).as_posix()})

    def write(self, values: dict[str, Any]) -> None:
        """Append one object as a line of its own, in one piece."""
        data = (json.dumps({**values, "time": round(time.time(), 1)}) + "\n").encode("utf-8")
        try:
            with self._lock, self._path.open("ab") as stream:
                stream.write(data)
        except OSError as error:
            raise output_error(self._path, error) from error


def panel_names(values: dict[str, float]) -> dict[str, float]:
    """Return the numbers under the names that panels draw: ``loss``, ``loss/<term>``, ``dice``, ``dice/<class>``.

    A method with one term of its own name is called by it: ``train/kd/kd`` becomes ``loss/kd``.
    """
    found = {}
    for name, value in values.items():
        named = _NAMES.get(name)
        for start, instead in _PARTS.items():
            if named is None and name.startswith(start) and name not in _LEFT_OUT:
                method, _, term = name[len(start) :].partition("/")
                named = instead + (method if term in ("", method) else f"{method}/{term}")
        if named is not None:
            found[named] = value
    return found


def _end_line(path: Path) -> None:
    """Close a line that a kill left torn, so that the next event stands on its own."""
    try:
        with path.open("rb+") as stream:
            if stream.seek(0, 2) > 0:
                stream.seek(-1, 2)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise output_error(path, error) from error
