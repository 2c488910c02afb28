"""A thousand malformed requests and messages: the server goes on, and nothing outside of its folder is touched."""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import ClientError

from hlfd.jobs.process import is_running
from Testing.web.front_server import CHILD, RunningFront, raw
from Testing.web.wslink_client import HELLO, Page, chunk, rpc

REQUESTS, MESSAGES = 600, 400
_METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"get", b"", b"\0", b"G" * 9000, b"CONNECT", b"PRI * HTTP/2.0")
_PLACES = (
    "/",
    "/ws",
    "/files/results/",
    "/files/upload?name=",
    "/files/session/",
    "/session/leave",
    "/login",
    "/front/",
)
_NASTY = (
    "..",
    "../" * 20 + "etc/passwd",
    "%2e%2e/" * 9,
    "%00",
    "%ff%fe",
    "\\..\\..",
    "//x",
    "?a=%",
    "#",
    " ",
    "%",
    "ä",
)
_NASTY += ("a" * 5000, "%0d%0aX:y", "{{7*7}}", "$(id)", "'; drop", "<script>", "../.hlfd/server.lock", ";jsessionid=1")
_HEADERS = (
    *("Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: 5, 6", "Content-Length: 0x10"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Connection: Upgrade", "Upgrade: websocket"),
    *("Sec-WebSocket-Version: 99", "Sec-WebSocket-Key: x", "Sec-WebSocket-Extensions: permessage-deflate; x=\0"),
    *("Cookie: a=b; ;;=; hlfd_session=../../x", "Cookie: " + "x" * 20000, "Range: bytes=9-1", "Expect: 100-continue"),
    *("Host: [::1", "Host:", "X: \x01\x02", ": nothing", "no colon", "Content-Type: multipart/form-data", "Origin: //"),
)


def request(random_: random.Random, port: int, cookies: str) -> bytes:
    """Return a request that is wrong in some ways: mostly one that gets past the parser, with a valid session."""

    def rarely(usual, others):
        return usual if random_.random() < 0.93 else random_.choice(others)

    if random_.random() < 0.05:
        return random_.randbytes(random_.randrange(1, 400))
    path = random_.choice(_PLACES) + "".join(random_.choices(_NASTY, k=random_.choice((0, 1, 1, 1, 2))))
    lines = [f"Host: 127.0.0.1:{port}", f"Cookie: {cookies}", f"Origin: http://127.0.0.1:{port}", "Connection: close"]
    lines = [line for line in lines if random_.random() < 0.95]
    lines += random_.choices(_HEADERS, k=random_.choice((0, 0, 0, 1, 2)))
    ending = rarely("\r\n", ("\n", "\r", "\0"))
    method = rarely(random_.choice(_METHODS[:3]), _METHODS)
    version = rarely(b" HTTP/1.1", (b" HTTP/1.0", b" HTTP/9.9", b"", b" HTTP/1.1 x"))
    head = method + b" " + path.encode("latin-1", "replace").replace(b" ", b"%20") + version
    head += ending.encode() + ending.join([*lines, "", ""]).encode("latin-1", "replace")
    return head + random_.randbytes(rarely(0, (10, 3000)))


def message(random_: random.Random, number: int) -> bytes:
    """Return a message for the websocket that is wrong in some way, on any layer."""
    kind = random_.randrange(7)
    if kind == 0:
        return random_.randbytes(random_.randrange(60))
    if kind == 1:
        return struct.pack("<III", *(random_.choice((0, 1, 12, 2**31, 2**32 - 1)) for _ in range(3))) + b"x" * 20
    if kind == 2:
        return chunk(random_.randbytes(random_.randrange(1, 300)), number)
    if kind == 3:
        return chunk(b"\x91" * random_.randrange(1, 3000), number)  # lists in lists in lists
    if kind == 4:
        return chunk(
            {"id": random_.choice((None, 5, "a", "rpc:1:1", [])), "args": random_.choice((None, "x", {}))}, number
        )
    method = random_.choice(
        ("trame.trigger", "trame.state.update", "wslink.hello", "trame.force.push", "no.such", "", None)
    )
    nasty = random_.choice(
        (None, [], {}, "x" * 3000, -1, [[]], [{"key": None}], {"$": 1}, "__init__", ["../../etc/passwd"])
    )
    return rpc(number, method, *random_.choices((nasty, [nasty], {"a": nasty}), k=random_.randrange(4)))


def everything(folder: Path) -> dict[str, tuple[int, float]]:
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime) for path in sorted(folder.rglob("*"))}


@pytest.fixture
def place(tmp_path):
    """A folder with neighbours of the data root that must stay as they are."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "secret.txt").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


@pytest.fixture
def running(place, child):
    made = RunningFront(place / "root", child, max_upload_mb=1)
    yield made
    made.close()


def outside(place: Path) -> dict[str, tuple[int, float]]:
    return {path: seen for path, seen in everything(place).items() if not path.startswith(str(place / "root"))}


async def talk(running, visitor, random_: random.Random, count: int) -> None:
    """Send ``count`` messages, over a new connection whenever the last one was closed; mostly logged in."""
    sent = 0
    while sent < count:
        async with Page(running, visitor) as page:
            if random_.random() < 0.8:
                await page.socket.send_bytes(HELLO)
            for _ in range(random_.randrange(1, 30)):
                sent += 1
                try:
                    await page.socket.send_bytes(message(random_, sent))
                    await asyncio.wait_for(page.socket.receive(), 0.005)
                except asyncio.TimeoutError:
                    continue
                except (ClientError, ConnectionError):
                    break
                if page.socket.closed:
                    break


@pytest.mark.parametrize("child", [CHILD, pytest.param(None, marks=pytest.mark.slow)], ids=["light", "real"])
def test_the_server_and_its_sessions_survive_a_thousand_of_them(running, place):
    random_ = random.Random(1)
    visitor, other = running.visitor().open(), running.visitor().open()
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    before, handles = outside(place), len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    pids = [each.session.child.pid for each in (visitor, other)]

    answers = Counter()
    for _ in range(REQUESTS):
        answer = raw(running.port, request(random_, running.port, cookies))
        assert b"secret" not in answer
        answers[answer[9:12].decode("latin-1")] += 1
    assert {"400", "403", "404"} <= answers.keys()
    assert "500" not in answers
    running.call(talk(running, visitor, random_, MESSAGES))

    assert outside(place) == before
    assert all(is_running(pid) for pid in pids)
    assert other.get("/").status == 200
    assert visitor.get("/session/state").json["state"] == "ready"

    async def works():
        async with Page(running, visitor) as page:
            await page.hello()
            return await page.call("trame.state.get")

    assert "trame__title" in running.call(works())["result"]["state"]
    if handles:
        assert len(os.listdir("/proc/self/fd")) < handles + 60
