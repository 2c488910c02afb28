"""slicer.i18n: no translation, and translations are looked up by text alone (Base/Python/slicer/i18n.py)."""

from __future__ import annotations


def translate(context: str, text: str) -> str:
    """Return the text in the application's language, English here."""
    return text


def tr(text: str) -> str:
    """Return the text in the application's language, English here."""
    return text
