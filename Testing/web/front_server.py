"""A real server of the browser application in a thread of this process, with light session processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hlfd_web.front.options import Options
from hlfd_web.front.server import Front

CHILD = Path(__file__).with_name("front_child.py")
PLAIN_CHILD = Path(__file__).with_name("plain_child.py")


class RunningFront:
    """A started server. ``call`` runs a coroutine in its loop, ``visitor`` makes a browser without a screen.

    ``child`` None takes the real session process.
    """

    def __init__(self, data_root: Path, child: Path | None = CHILD, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        chosen = Options(**{"port": 0, "data_root": data_root, "device": "cpu", **options})
        command = (sys.executable, "-u", str(child)) if child else ()
        self.front = self.call(self._start(chosen, command))

    async def _start(self, options: Options, command: tuple[str, ...]) -> Front:
        front = Front(options, command)
        await front.start()
        return front

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def close(self) -> None:
        self.call(self.front.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def port(self) -> int:
        return self.front.port

    def visitor(self) -> Visitor:
        return Visitor(self)

    def look(self, later: float = 0.0) -> None:
        """Let the server look after its sessions as if ``later`` seconds had passed."""

        async def look() -> None:
            self.front.sessions.look(time.monotonic() + later)

        self.call(look())


class Answer:
    """What the server answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Visitor:
    """Somebody with cookies."""

    def __init__(self, running: RunningFront) -> None:
        self._running = running
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request as a page of this server does; ``headers`` come with _ for -, None leaves one out."""
        own = {"Host": f"127.0.0.1:{self._running.port}", "Origin": f"http://127.0.0.1:{self._running.port}"}
        if method == "GET":
            del own["Origin"]
        if self.cookies:
            own["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self._running.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None and "Content-Length" not in own and "Transfer-Encoding" not in own:
                own["Content-Length"] = str(len(body))
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body, encode_chunked="Transfer-Encoding" in own)
            answer = Answer(connection.getresponse())
        finally:
            connection.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = b"", **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def open(self) -> Visitor:
        """Open the page and wait for its session."""
        self.get("/")
        end = time.monotonic() + 90
        while (state := self.get("/session/state").json["state"]) != "ready":
            assert state == "starting", state
            assert time.monotonic() < end
            time.sleep(0.05)
        return self

    @property
    def session(self) -> Any:
        """The session as the server sees it."""
        (key,) = [value for name, value in self.cookies.items() if name.startswith("hlfd_session")]
        return self._running.front.sessions.find(key)


def raw(port: int, data: bytes, seconds: float = 0.1) -> bytes:
    """Send bytes as they are and return what comes back until the server hangs up or says nothing for a while."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        received = b""
        try:
            connection.sendall(data)
            while block := connection.recv(65536):
                received += block
        except OSError:  # hung up, or has nothing more to say
            pass
        return received
