"""The session's side of the front: its port answers only who knows the secret, and it does not outlive the front."""

from __future__ import annotations

import hmac
import os
import sys
import threading
from collections.abc import Awaitable, Callable

from aiohttp import web

HEADER = "X-HLFD-Session-Secret"
VARIABLE = "HLFD_SESSION_SECRET"


def protect(app: web.Application) -> None:
    """Make ``app`` answer 403 to every request, also of a websocket, that does not carry the secret of the session.

    The secret is taken out of the environment, so that no process started later gets it. Without one, in a session
    that was started by hand, nothing is protected.
    """
    secret = os.environ.pop(VARIABLE, "").encode()
    if not secret:
        return

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get(HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, secret):
            raise web.HTTPForbidden(text="This port belongs to one session of HLFD; open the address of the server.")
        return await handler(request)

    app.middlewares.append(check)


def end_with_stdin(end: Callable[[], None]) -> None:
    """Call ``end`` from a thread of its own when stdin closes, which it does also when the front was killed."""

    def wait() -> None:
        while True:
            try:
                if not os.read(0, 4096):
                    break
            except OSError:
                break
        end()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def say_port(port: int) -> None:
    """Tell the front which port to use."""
    sys.stdout.write(f'{{"port": {port}}}\n')
    sys.stdout.flush()
