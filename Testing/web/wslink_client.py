"""The websocket of a page, spoken by hand: wslink's chunks around msgpack."""

from __future__ import annotations

import struct
from typing import Any

import aiohttp
import msgpack

from Testing.web.front_server import RunningFront, Visitor


def chunk(message: Any, key: int = 1) -> bytes:
    data = message if isinstance(message, bytes) else msgpack.packb(message)
    return struct.pack("<III", key, 0, len(data)) + data


def rpc(number: int, method: str, *args: Any) -> bytes:
    return chunk({"wslink": "1.0", "id": f"rpc:c0:{number}", "method": method, "args": list(args)}, number)


HELLO = chunk(
    {"wslink": "1.0", "id": "system:c0:0", "method": "wslink.hello", "args": [{"secret": "wslink-secret"}]}, 99
)


class Page:
    """An open websocket, to be used within the loop of the server: ``async with Page(running, visitor) as page``."""

    def __init__(self, running: RunningFront, visitor: Visitor) -> None:
        self._address = f"http://127.0.0.1:{running.port}"
        self._client = aiohttp.ClientSession(cookies=visitor.cookies)
        self._number = 1

    async def __aenter__(self) -> Page:
        self.socket = await self._client.ws_connect(f"{self._address}/ws", origin=self._address, max_msg_size=0)
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._client.close()

    async def hello(self) -> Any:
        await self.socket.send_bytes(HELLO)
        return await self.answer("system:c0:0")

    async def call(self, method: str, *args: Any) -> Any:
        self._number += 1
        await self.socket.send_bytes(rpc(self._number, method, *args))
        return await self.answer(f"rpc:c0:{self._number}")

    async def answer(self, key: str, seconds: float = 20.0) -> Any:
        """Return the next answer to a call, what else comes is passed over."""
        while True:
            message = await self.socket.receive(seconds)
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise ConnectionError(f"closed with {message.data}")
            content = msgpack.unpackb(message.data[12:])
            if content.get("id") == key:
                return content
