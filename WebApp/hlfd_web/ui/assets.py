"""The script and the style sheet of the page, under a name that changes with what is in them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from hlfd import __version__

FOLDER = Path(__file__).parents[1] / "assets"


def enable_assets(server: Any) -> None:
    """Let the page load them; browsers may keep them, since a changed file has another address."""
    mark = zlib.crc32(b"".join(path.read_bytes() for path in sorted(FOLDER.iterdir())))
    base = f"__hlfd_{__version__}.{mark:08x}"
    server.enable_module({"serve": {base: str(FOLDER)}, "scripts": [f"{base}/hlfd.js"], "styles": [f"{base}/hlfd.css"]})
