"""The log of the panel: what was asked, what happened, and what the worker printed."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

import hlfd


class LogSection:
    """Adds lines with the time of day; ``details`` gives the output of the worker when the log is copied."""

    def __init__(self, ui: Any, details: Callable[[], str]) -> None:
        self._ui = ui
        self._details = details
        ui.copyButton.connect("clicked(bool)", self._on_copy)

    def add(self, text: str) -> None:
        """Write a line, also to Slicer's own log."""
        logging.info("HLFD: %s", text)
        self._ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def _on_copy(self, checked: bool = False) -> None:
        parts = [f"HLFD {hlfd.__version__}, Python {platform.python_version()}, {platform.platform()}"]
        parts += [self._ui.logText.toPlainText(), self._details()]
        slicer.app.clipboard().setText("\n\n".join(filter(None, parts)))
        self._ui.copyButton.setToolTip(_("Copied."))
