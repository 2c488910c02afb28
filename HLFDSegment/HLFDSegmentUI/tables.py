"""Tables of the panel: as high as their rows, up to a limit."""

from __future__ import annotations

from typing import Any

ROW_PIXELS = 22
_HEADER_PIXELS, _SCROLL_BAR_PIXELS, _MOST_ROWS = 26, 18, 10


def fit_height(table: Any, rows: int) -> None:
    """Make a table with one line per row as high as its rows, at most ten, so that it leaves room for the rest."""
    table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
    height = _HEADER_PIXELS + _SCROLL_BAR_PIXELS + ROW_PIXELS * min(rows, _MOST_ROWS)
    table.setMinimumHeight(height)
    table.setMaximumHeight(height)
