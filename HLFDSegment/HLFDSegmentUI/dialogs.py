"""Messages to the person at the screen: what is wrong, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer

from hlfd.errors import HlfdError

_TITLE = "HLFD"


def show_error(error: HlfdError) -> None:
    """Show what is wrong and what to do next."""
    text = f"{error.message}\n\n{error.remedy}" if error.remedy else error.message
    slicer.util.errorDisplay(text, windowTitle=_TITLE)


def confirmed(question: str) -> bool:
    """Return whether the person agrees."""
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle=_TITLE))


@contextmanager
def errors_shown(title: str) -> Iterator[None]:
    """Show the errors of the block: those that can be acted on in words, any other with its traceback."""
    with slicer.util.tryWithErrorDisplay(title):
        try:
            yield
        except HlfdError as error:
            show_error(error)
