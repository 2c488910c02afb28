"""Files that the page hands to its user: written into the session's private folder, fetched through the front."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from trame.widgets import client

if TYPE_CHECKING:
    from hlfd_web.app import Context

_NUMBERS = itertools.count(1)
_CLICK = (
    "download && Object.assign(utils.get('document').createElement('a'), "
    "{href: download.url, download: download.name}).click()"
)


def download_folder(context: Context) -> Path:
    """Return the folder whose files the front hands out as ``files/session/NAME``; it exists afterwards."""
    folder = context.folder / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def offer(context: Context, path: Path) -> None:
    """Let the page download a file that lies in ``download_folder``, as if its user had clicked on a link."""
    url = f"files/session/{quote(path.name)}"
    context.state.download = {"number": next(_NUMBERS), "name": path.name, "url": url}


def build_downloads(context: Context) -> None:
    """Write the invisible widget that starts downloads; called once, anywhere in the page."""
    context.state.setdefault("download", None)
    client.ClientStateChange(value="download", change=_CLICK)
