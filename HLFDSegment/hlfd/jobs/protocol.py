"""The lines between ``hlfd.jobs`` and ``hlfd.worker``: one JSON object a line, after a prefix.

Whatever else the worker's process prints is log. Lines stay short: arguments, arrays and results are files in the
folder of the job (``hlfd.jobs.files``).

To the worker: ``{"do": "run", "job": "1", "kind": "segment", "folder": "..."}``, ``{"do": "cancel", "job": "1"}``,
``{"do": "leave"}``. The end of the stream ends the worker too, and it removes the files of the owner that is gone.
From the worker: ``hello`` (pid, versions), ``alive`` each second (the job it works on), ``bye`` before it leaves for
want of work, and for a job ``accepted``, the events of ``hlfd.events``, and one of ``done`` or ``error``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hlfd.errors import CancelledError, HlfdError
from hlfd.events import Event, Metric, Progress, Stage, Warn

PREFIX = "@hlfd "
_EVENTS: dict[str, Any] = {kind.__name__.lower(): kind for kind in (Stage, Progress, Metric, Warn)}
_MAX_TEXT = 4000  # a sentence for people, not a traceback


def encode(message: Mapping[str, Any]) -> bytes:
    """Return the message as one line."""
    return f"{PREFIX}{json.dumps(message, ensure_ascii=True)}\n".encode("ascii")


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the message of a line, or None for a line that is log or was damaged on its way."""
    text = line.decode("utf-8", errors="replace")
    if not text.startswith(PREFIX):
        return None
    try:
        message = json.loads(text[len(PREFIX) :])
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def event_from(message: Mapping[str, Any]) -> Event | None:
    """Return the event that ``hlfd.events.event_to_dict`` wrote, or None for a message that is none."""
    kind = _EVENTS.get(str(message.get("event")))
    if kind is None:
        return None
    try:
        event: Event = kind(**{name: message[name] for name in kind.__dataclass_fields__})
    except (KeyError, TypeError):
        return None
    return event


def error_to_dict(error: HlfdError) -> dict[str, str]:
    """Return the error as it goes into a line."""
    return {name: text[:_MAX_TEXT] for name, text in error.to_dict().items()}


def error_from_dict(values: Mapping[str, Any]) -> HlfdError:
    """Return the error with the class that has its ``code``; unknown codes give a plain ``HlfdError``."""
    kinds: list[type[HlfdError]] = [HlfdError]
    for kind in kinds:  # grows while it is walked: all descendants
        kinds.extend(kind.__subclasses__())
    code, message = str(values.get("code", "")), str(values.get("message") or "Unknown error.")
    if code == CancelledError.code:
        return CancelledError(message)
    found = next((kind for kind in kinds if kind.code == code), HlfdError)
    return found(message, str(values.get("remedy", "")))
