"""The session's side of the front: its port answers only who knows the secret."""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

HEADER = "X-HLFD-Secret"
VARIABLE = "HLFD_WEB_SECRET"


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
