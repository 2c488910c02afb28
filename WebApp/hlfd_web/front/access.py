"""Who may ask: the right name of the server, the same page, and the token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

from hlfd_web.front.options import Options, is_loopback
from hlfd_web.front.pages import login_page
from hlfd_web.front.token import Token

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN_PATHS = ("/front/", "/login", "/health")
"""What is answered without the token: the server's own pages, which hold no data."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_WRONG_TOKEN_DELAY = 0.5
_MAX_TOKEN = 512


def host_of(text: str) -> str:
    """Return the name in a Host header, without its port."""
    if text.startswith("["):
        return text[1:].partition("]")[0].lower()
    return text.partition(":")[0].lower()


class Access:
    """The checks before every request, as a middleware, and the login."""

    def __init__(self, options: Options, token: Token | None) -> None:
        self._token = token
        names = {*_LOCAL_NAMES, options.host.lower(), *(name.lower() for name in options.allow_host)}
        # A public address is reached by any name: there the token keeps out pages of others, which lack its cookie.
        self._names = None if token and not is_loopback(options.host) and not options.allow_host else names
        self._failing = asyncio.Semaphore(4)

    def cookie(self, request: web.Request) -> str:
        """Return the name of the cookie; servers on other ports of one computer share its cookies."""
        return f"hlfd_token_{port_of(request)}"

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what a page of somebody else, or somebody without the token, asks for."""
        host = request.headers.get("Host", "")
        if len(request.headers.getall("Host", ())) != 1 or not self._known(host):
            raise web.HTTPForbidden(text=f"This server does not answer to the name {host[:80]!a}; see --allow-host.")
        self._check_origin(request, host)
        if self.logged_in(request) or request.path.startswith(OPEN_PATHS):
            return await handler(request)
        if request.method == "GET" and request.path in ("/", "/index.html"):
            return login_page()
        raise web.HTTPUnauthorized(text="Open the address with the token that the server printed when it started.")

    def _known(self, host: str) -> bool:
        return bool(host) and (self._names is None or host_of(host) in self._names)

    @staticmethod
    def _check_origin(request: web.Request, host: str) -> None:
        """Refuse requests that a page of another site makes: changes, websockets, and parts of such a page."""
        origin = request.headers.get("Origin")
        same = origin is None or urlsplit(origin).netloc.lower() == host.lower()
        socket = "upgrade" in request.headers.get("Connection", "").lower()
        if not same or (origin is None and (socket or request.method not in ("GET", "HEAD"))):
            raise web.HTTPForbidden(text="Requests from the pages of other sites are not answered.")
        opened = request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate" and request.method == "GET"
        if request.headers.get("Sec-Fetch-Site", "none") in ("cross-site", "same-site") and not opened:
            raise web.HTTPForbidden(text="Requests from the pages of other sites are not answered.")

    def logged_in(self, request: web.Request) -> bool:
        """Return whether the visitor has shown the token, or need not."""
        return self._token is None or self._token.matches_cookie(request.cookies.get(self.cookie(request), ""))

    async def login(self, request: web.Request) -> web.Response:
        """Take the token (the body of the request) and give the cookie, 204; 403 for a wrong one."""
        if (request.content_length or _MAX_TOKEN + 1) > _MAX_TOKEN:
            raise web.HTTPRequestEntityTooLarge(max_size=_MAX_TOKEN, actual_size=request.content_length or 0)
        given = (await request.content.read(_MAX_TOKEN)).decode("utf-8", "replace").strip()
        response = web.Response(status=204)
        if self._token is None:
            return response
        if not self._token.matches(given):
            async with self._failing:
                await asyncio.sleep(_WRONG_TOKEN_DELAY)
            raise web.HTTPForbidden(text="This is not the token of the server.")
        set_cookie(request, response, self.cookie(request), self._token.cookie, "Strict")
        return response

    async def state(self, request: web.Request) -> web.Response:
        """Say whether the visitor is logged in: asked by a page to which another site led, without its cookies."""
        return web.json_response({"logged_in": self.logged_in(request)})


def port_of(request: web.Request) -> int:
    """Return the port that the server listens on."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if name else 0


def set_cookie(request: web.Request, response: web.StreamResponse, name: str, value: str, same_site: str) -> None:
    """Set a cookie that scripts cannot read and that ends with the browser, over TLS only where the page came so."""
    secure = "https" in (request.scheme, request.headers.get("X-Forwarded-Proto", "").lower())
    response.set_cookie(name, value, httponly=True, samesite=same_site, secure=secure, path="/")
