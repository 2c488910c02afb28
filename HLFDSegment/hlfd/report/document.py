"""The frame of a page that needs no other file: one HTML document with its style inside."""

from __future__ import annotations

from html import escape
from pathlib import Path

from hlfd import __version__

_STYLE = Path(__file__).with_name("report.css")


def document(title: str, body: str, remark: str, style: str = "") -> str:
    """Return the page with ``body``, which is HTML already, and below it the version and ``remark``.

    ``style`` is CSS beside that of all reports. Title and remark are text, and escaped.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}{style}</style>
</head>
<body>
{body}
<footer>Made by HLFD {escape(__version__)}. {escape(remark)}</footer>
</body>
</html>
"""


def section(title: str, body: str) -> str:
    """Return a section of the page under a heading; nothing where ``body``, HTML already, is empty."""
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>\n" if body else ""
