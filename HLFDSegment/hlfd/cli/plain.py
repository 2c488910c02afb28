"""Values of the engine as plain JSON values, and tables for people."""

from __future__ import annotations

import dataclasses
import math
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Return mappings, sequences, dataclasses, paths and NumPy values as JSON values; NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value.to_dict() if hasattr(value, "to_dict") else dataclasses.asdict(value))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain(value.tolist())
    return value


def columns(rows: list[list[str]]) -> str:
    """Return rows of text as aligned columns, the first to the left and the others to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(cells)).rstrip()
        for cells in (list(zip(row, widths)) for row in rows)
    )
