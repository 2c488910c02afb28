"""What the page says to its user: errors, warnings and news, each readable and to be closed."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hlfd.errors import HlfdError

KINDS = ("error", "warning", "success", "info")
_MAX_SHOWN = 4
_NEWS_S = 8.0
"""Seconds after which news that need no answer go; errors and warnings stay until they are closed."""
_LOG = logging.getLogger(__name__)


class Notices:
    """Keeps the notices of a page in ``state.notices`` (newest last) and the line for screen readers in
    ``state.notice_spoken``."""

    def __init__(self, state: Any, ctrl: Any, *private: str) -> None:
        """``private`` are folders of the server that no notice names."""
        self._state = state
        self._private = private
        self._numbers = itertools.count(1)
        self._until: dict[int, float] = {}
        self._shown: list[dict[str, Any]] = []  # the page can write into its state
        state.notices = []
        state.notice_spoken = ""
        ctrl.close_notice = self.close

    def show(self, what: BaseException | str, kind: str = "") -> None:
        """Show an error or a text; ``kind`` is error, warning, success or info (default: error for errors, else
        info). The same text is not shown twice at a time. An ``HlfdError`` that means "cancelled" is not shown."""
        if isinstance(what, HlfdError):
            if what.code == "cancelled":
                return
            text, remedy = what.message, what.remedy or ""
        elif isinstance(what, BaseException):
            _LOG.error("Unexpected error", exc_info=what)
            text = f"Something went wrong: {type(what).__name__}: {what}."
            remedy = "Try again. If it stays, report it with the log of the server."
        else:
            text, remedy = what, ""
        for folder in self._private:
            text, remedy = (
                part.replace(f"{folder}/", "").replace(folder, "the data folder") for part in (text, remedy)
            )
        kind = kind or ("error" if isinstance(what, BaseException) else "info")
        notice = {"id": next(self._numbers), "text": text, "remedy": remedy, "kind": kind}
        kept = [old for old in self._shown if old["text"] != text]
        if kind in ("success", "info"):
            self._until[notice["id"]] = time.monotonic() + _NEWS_S
        self._put([*kept, notice][-_MAX_SHOWN:])
        self.speak(" ".join(filter(None, (text, remedy))))

    def speak(self, text: str) -> None:
        """Say a text to screen readers only, such as how far a long work is."""
        self._state.notice_spoken = text

    def close(self, number: int) -> None:
        """Take a notice away."""
        self._put([notice for notice in self._shown if notice["id"] != number])

    def expire(self) -> None:
        """Take away the news whose time is over."""
        now = time.monotonic()
        over = {number for number, until in self._until.items() if until < now}
        if over:
            self._until = {number: until for number, until in self._until.items() if number not in over}
            self._put([notice for notice in self._shown if notice["id"] not in over])

    def _put(self, notices: list[dict[str, Any]]) -> None:
        self._shown = notices
        self._state.notices = list(notices)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show what goes wrong inside as a notice instead of raising it: the edge between a click and the logic."""
        try:
            yield
        except Exception as error:  # whatever a click meets is told to its user; the session goes on
            self.show(error)
