"""Numbers and nested facts as words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with ``digits`` decimals, or a dash for None and NaN."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Return seconds in words: "0.84 s", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


LIKELY, UNCERTAIN = 0.7, 0.3
"""The confidence from which on a lesion is called likely, and uncertain; below it is doubtful."""


def sureness(confidence: float | None) -> str:
    """Return a lesion's confidence in words: "likely, 86 %", "uncertain, 45 %", "doubtful, 12 %"; a dash for None."""
    if confidence is None or not math.isfinite(confidence):
        return "-"
    shown = round(confidence, 2)  # so that the word fits the number beside it
    word = "likely" if shown >= LIKELY else "uncertain" if shown >= UNCERTAIN else "doubtful"
    return f"{word}, {100 * shown:.0f}\u00a0%"  # a no-break space: cells are narrow


def left_out(volumes_ml: Sequence[float], remedy: str = "") -> str:
    """Return a sentence on masses of these volumes in ml that are not marked as they are almost surely none, or "".

    ``remedy`` says how to have them marked.
    """
    if not volumes_ml:
        return ""
    largest = number(max(volumes_ml))
    if len(volumes_ml) == 1:
        return f"1 doubtful mass of {largest} ml is not marked. {remedy}".strip()
    return f"{len(volumes_ml)} doubtful masses of at most {largest} ml are not marked. {remedy}".strip()


def nested(value: Any) -> str:
    """Return nested mappings and lists as one line of text."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {nested(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(nested(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
