"""What the server passes on between a page and its session, and what it keeps away from it."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import time

import pytest
from aiohttp import WSServerHandshakeError

from hlfd_web.front.chunks import MAX_CHUNK, MAX_MESSAGE, ChunkGate
from Testing.web.front_server import RunningFront, raw
from Testing.web.wslink_client import Page, chunk


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = RunningFront(tmp_path_factory.mktemp("proxy") / "root")
    yield made
    made.close()


@pytest.fixture(scope="module")
def visitor(running):
    return running.visitor().open()


def test_the_page_comes_with_our_script_and_without_others(visitor):
    page = visitor.get("/").text
    assert page.index("/front/page.js") < page.index("vue.global.js")
    assert "<title>HLFD</title>" in page
    assert "maximum-scale" not in page


def test_files_of_the_session_are_passed_on_with_what_a_browser_keeps_them_by(visitor):
    first = visitor.get("/logo.png")
    assert first.status == 200
    assert first.headers["Content-Type"] == "image/png"
    assert visitor.get("/logo.png", If_None_Match=first.headers["ETag"]).status == 304
    assert visitor.ask("HEAD", "/logo.png").body == b""
    part = visitor.get("/logo.png", Range="bytes=0-9")
    assert (part.status, part.body) == (206, first.body[:10])


def test_files_that_all_sessions_share_come_compressed_and_are_kept_by_the_browser(running, visitor):
    plain = visitor.get("/vue.global.js")
    packed = visitor.get("/vue.global.js", Accept_Encoding="gzip, br")
    assert plain.headers["Content-Type"].startswith("application/javascript")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert visitor.get("/vue.global.js", If_None_Match=plain.headers["ETag"]).status == 304
    assert "max-age" in plain.headers["Cache-Control"]
    assert visitor.get("/assets/nothing.js").status == 404
    assert running.visitor().get("/vue.global.js").status == 410


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/assets/..%5c..%5cx",
        "//etc/passwd",
        "/.hidden",
        "/a\\b",
        "/a;b",
        "/a%00b",
        "/a%0d%0aX-Injected:%20b",
        "/nowhere",
        "/" + "a/" * 20,
        "/index.html/x",
    ],
)
def test_paths_that_are_no_file_of_a_page_are_not_found(visitor, path):
    answer = visitor.get(path)
    assert answer.status in (400, 404)
    assert "X-Injected" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_a_session_is_asked_for_files_alone(visitor, method):
    assert visitor.ask(method, "/vue.global.js").status in (400, 403, 404, 405)


def test_an_address_that_names_another_session_server_is_not_followed(visitor):
    answer = visitor.get("/?sessionURL=ws://evil.example/ws")
    assert (answer.status, answer.headers["Location"]) == (302, "/")


def test_one_request_cannot_hide_another(running, visitor):
    """Two lengths, a length and chunks, a folded header: refused, not guessed."""
    cookies = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    start = f"GET /vue.global.js HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nCookie: {cookies}\r\n"
    hidden = "GET /files/results/x HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    assert b"200 OK" in raw(running.port, f"{start}\r\n".encode(), 2.0)
    for extra in (
        "Content-Length: 5\r\nContent-Length: 50\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "X: a\r\n\tb: c\r\nTransfer-Encoding : chunked\r\n\r\n",
    ):
        answer = raw(running.port, (start + extra + hidden).encode())
        assert b"200 OK" not in answer
    twice = raw(running.port, f"{start}Host: evil.example\r\n\r\n".encode())
    assert b"200 OK" not in twice


class TestWebsocket:
    def test_carries_calls_and_answers(self, running, visitor):
        async def talk():
            async with Page(running, visitor) as page:
                hello = await page.hello()
                state = await page.call("trame.state.get")
                return hello, state

        hello, state = running.call(talk())
        assert hello["result"]["clientID"]
        assert "count" in state["result"]["state"]

    def test_is_not_compressed(self, running, visitor):
        async def look():
            async with Page(running, visitor) as page:
                return page.socket.compress

        assert running.call(look()) == 0

    def test_counts_as_use_and_ends_with_the_session(self, running):
        visitor = running.visitor().open()
        session = visitor.session

        async def talk():
            async with Page(running, visitor) as page:
                await page.hello()
                assert session.sockets == 1
                running.front.sessions.end(session, "for a test")
                return (await page.socket.receive(5)).type

        assert running.call(talk()).name in ("CLOSE", "CLOSED", "CLOSING")
        assert session.sockets == 0

    @pytest.mark.parametrize(
        "message",
        [b"", b"short", chunk(b"x" * (MAX_CHUNK + 10)), chunk(b"x")[:4] + b"\xff" * 8 + b"x", "text", chunk(b"")],
    )
    def test_closes_on_what_is_no_chunk(self, running, visitor, message):
        async def send():
            async with Page(running, visitor) as page:
                try:
                    await (page.socket.send_str if isinstance(message, str) else page.socket.send_bytes)(message)
                    return (await page.socket.receive(5)).type.name
                except ConnectionError:  # closed while a large message was on its way
                    return "CLOSED"

        assert running.call(send()) in ("CLOSE", "CLOSED", "CLOSING", "ERROR")
        assert visitor.get("/session/state").json["state"] == "ready"

    def test_does_not_wait_for_more_than_it_has(self, running, visitor):
        """Eight pages of a session are enough; the ninth is refused."""

        async def crowd():
            pages = [Page(running, visitor) for _ in range(9)]
            try:
                opened = await asyncio.gather(*(page.__aenter__() for page in pages), return_exceptions=True)
                return sorted("429" if isinstance(page, WSServerHandshakeError) else "open" for page in opened)
            finally:
                for page in pages:
                    await page.__aexit__()

        assert running.call(crowd()) == ["429", *["open"] * 8]
        end = time.monotonic() + 10
        while visitor.session.sockets:
            assert time.monotonic() < end
            time.sleep(0.01)

    def test_adds_little_time_to_a_call(self, running, visitor):
        async def measure():
            async with Page(running, visitor) as page:
                await page.hello()
                times = []
                for _ in range(100):
                    begin = time.perf_counter()
                    await page.call("trame.state.update", [])
                    times.append(time.perf_counter() - begin)
                return sorted(times)[50]

        assert running.call(measure()) < 0.05


class TestChunkGate:
    def test_lets_whole_and_cut_messages_pass(self):
        gate = ChunkGate()
        assert gate.passes(chunk(b"whole"))
        header = (7).to_bytes(4, "little")
        assert gate.passes(header + (0).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"abc")
        assert gate.passes(header + (3).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"def")
        assert gate.passes(header + (0).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc")

    @pytest.mark.parametrize(
        ("offset", "size", "content"),
        [
            (0, MAX_MESSAGE + 1, b"x"),
            (0, 2**32 - 1, b"x"),
            (5, 5, b"x"),
            (0, 1, b"xx"),
            (2**32 - 1, 10, b"x"),
            (0, 5, b""),
        ],
    )
    def test_stops_what_claims_too_much_or_lies(self, offset, size, content):
        assert not ChunkGate().passes(b"\1\0\0\0" + offset.to_bytes(4, "little") + size.to_bytes(4, "little") + content)

    def test_stops_many_messages_that_never_end(self):
        gate = ChunkGate()
        passed = [
            gate.passes(number.to_bytes(4, "little") + bytes(4) + (1 << 20).to_bytes(4, "little") + b"x")
            for number in range(50)
        ]
        assert sum(passed) < 10


def test_a_session_whose_process_hangs_does_not_hold_up_others(running):
    stuck, other = running.visitor().open(), running.visitor().open()
    pid = stuck.session.child.pid
    os.kill(pid, signal.SIGSTOP)
    try:

        async def ask():
            return await asyncio.wait_for(asyncio.to_thread(other.get, "/vue.global.js"), 10)

        assert running.call(ask()).status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
