"""Files that are the same in all sessions (styles, scripts, fonts of trame), kept by the front and sent compressed."""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass

from aiohttp import web

SHARED = re.compile(r"/(__trame_\w+_\d+\.\d[\w.]*|assets)/|/vue\.global\.js$")
"""Paths of files that carry a version or a hash in their name, or belong to those that do."""
_KEPT_BYTES = 32 << 20
_TEXT = ("text/", "application/javascript", "application/json", "image/svg+xml")


@dataclass(frozen=True)
class Asset:
    """One file; ``packed`` is empty where compression does not pay."""

    kind: str
    tag: str
    body: bytes
    packed: bytes = b""


class Assets:
    """Those that were asked for, up to a limit."""

    def __init__(self) -> None:
        self._kept: dict[str, Asset] = {}
        self._size = 0

    def find(self, path: str) -> Asset | None:
        """Return a file that is kept."""
        return self._kept.get(path)

    async def keep(self, path: str, kind: str, tag: str, body: bytes) -> Asset:
        """Keep a file and return it, compressed if it is text."""
        text = kind.startswith(_TEXT) and len(body) > 1024
        packed = await asyncio.to_thread(gzip.compress, body, 6) if text else b""
        asset = Asset(kind, tag, body, packed)
        if path not in self._kept and self._size + len(body) + len(packed) <= _KEPT_BYTES:
            self._kept[path] = asset
            self._size += len(body) + len(packed)
        return asset


def answer(request: web.Request, asset: Asset) -> web.Response:
    """Answer with a file: compressed where the browser takes it, not at all where it has it."""
    headers = {"Cache-Control": "private, max-age=86400", "ETag": asset.tag, "Vary": "Accept-Encoding"}
    if asset.tag and request.headers.get("If-None-Match") == asset.tag:
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = asset.kind
    packed = asset.packed if "gzip" in request.headers.get("Accept-Encoding", "") else b""
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=packed or asset.body, headers=headers)
