"""A look at what a browser sends on its websocket before a session gets it.

wslink (the protocol of trame) cuts messages into chunks with a header of three little-endian 32-bit numbers: message
id, offset, and size of the whole message. Its reader reserves the size that a header claims, so it is limited here.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("<III")
MAX_MESSAGE = 32 << 20
"""Largest message of a page; states and events are far below, files do not go this way."""
MAX_OPEN = 8
MAX_CHUNK = (10 << 20) + 4096


class ChunkGate:
    """Whether chunks of one connection may pass: sane sizes, few open messages, nothing beyond what was announced."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[int, int]] = {}

    def passes(self, chunk: bytes) -> bool:
        """Return whether a chunk may pass; after the first that may not, the connection should be closed."""
        if not HEADER.size <= len(chunk) <= MAX_CHUNK:
            return False
        key, offset, size = HEADER.unpack_from(chunk)
        content = len(chunk) - HEADER.size
        total, left = self._left.get(key, (size, size))
        if size != total or size > MAX_MESSAGE or content > left or offset + content > size or not content:
            return False
        if left - content:
            self._left[key] = (total, left - content)
        else:
            self._left.pop(key, None)
        return len(self._left) <= MAX_OPEN and sum(size for size, _ in self._left.values()) <= MAX_MESSAGE
