"""The public server, put together: routes, checks, sessions, uploads, downloads."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

import hlfd
from hlfd.errors import BusyError, HlfdError, UsageError
from hlfd_web.files import DataRoot
from hlfd_web.front import headers
from hlfd_web.front.access import Access, port_of, set_cookie
from hlfd_web.front.child import Child
from hlfd_web.front.downloads import download
from hlfd_web.front.options import Options
from hlfd_web.front.pages import dress, loading, static_file, wait_page
from hlfd_web.front.proxy import Proxy
from hlfd_web.front.root_lock import RootLock
from hlfd_web.front.sessions import Session, Sessions
from hlfd_web.front.token import Token, new_token, read_token
from hlfd_web.front.uploads import Uploads

_log = logging.getLogger(__name__)
_http_log = logging.getLogger("hlfd_web.front.http")
# malformed requests are the fault of who sends them: answered, not told to the owner of the server
_http_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))


class Front:
    """A server on one address. ``start`` and ``stop`` it within one event loop."""

    def __init__(self, options: Options, session_command: Sequence[str] = ()) -> None:
        """Check the data root and take it; ``session_command`` stands in for ``python -m hlfd_web.session``."""
        self.options = options
        self.root = DataRoot(options.data_root)
        self.lock = RootLock(self.root)
        self.token: Token | None = None
        if options.needs_token:
            self.token = read_token(options.token_file) if options.token_file else new_token()
        self._command = tuple(session_command) or (sys.executable, "-u", "-m", "hlfd_web.session")
        self._access = Access(options, self.token)
        self._uploads = Uploads(self.root, options.max_upload_mb << 20)
        self.sessions = Sessions(self._make_child, options.max_sessions, options.idle_minutes * 60)
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """The address to open, once started, with the token behind the ``#`` where one is needed."""
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.options.host, self.options.host)
        shown = f"[{host}]" if ":" in host else host
        token = f"#/?token={self.token.text}" if self.token else ""
        return f"http://{shown}:{self.port}/{token}"

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._runner.addresses[0][1]) if self._runner and self._runner.addresses else 0

    async def start(self) -> None:
        """Listen, and start the spare session; raise ``UsageError`` where the address cannot be had."""
        self._proxy = Proxy()
        self._runner = web.AppRunner(self._application(), access_log=None, logger=_http_log, keepalive_timeout=75)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.options.host, self.options.port).start()
        except OSError as error:
            await self.stop()
            reason = os.strerror(error.errno) if (error.errno or 0) > 0 else error.strerror or error
            raise UsageError(
                f"Cannot listen on {self.options.host}, port {self.options.port}: {reason}.",
                "Choose another --port (0 takes a free one) or --host, or stop the program that listens there.",
            ) from error
        self.sessions.open()

    async def stop(self) -> None:
        """End all sessions and free address and data root."""
        await self.sessions.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._proxy.close()
        self.lock.release()

    def _make_child(self) -> Child:
        folder = self.lock.sessions / secrets.token_hex(8)
        search = [str(Path(package.__file__ or "").resolve().parents[1]) for package in (hlfd, sys.modules["hlfd_web"])]
        environment = {
            "HLFD_MODELS": str(self.root.models),
            "PYTHONPATH": os.pathsep.join(filter(None, [*search, os.environ.get("PYTHONPATH", "")])),
            "PYTHONUTF8": "1",
        }
        arguments = ("--data-root", str(self.root.folder), "--device", self.options.device)
        return Child((*self._command, *arguments), folder, environment)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._access.check], client_max_size=1 << 16)
        app.on_response_prepare.append(headers.add)
        add = app.router.add_route
        add("GET", "/front/{name}", static_file)
        add("GET", "/health", self._health)
        add("GET", "/login", self._access.state)
        add("POST", "/login", self._access.login)
        add("GET", "/session/state", self._state)
        add("POST", "/session/leave", self._leave)
        add("POST", "/files/upload", self._with_session(self._uploads.take))
        add("POST", "/files/finish", self._with_session(self._uploads.finish))
        app.router.add_get("/files/{kind}/{name:.+}", self._with_session(self._download))
        add("GET", "/loading.tpl", loading)
        add("GET", "/", self._page)
        add("GET", "/index.html", self._page)
        add("*", "/ws", self._with_session(lambda request, session: self._proxy.pass_on_socket(request, session)))
        add("*", "/{path:.*}", self._with_session(lambda request, session: self._proxy.pass_on(request, session)))
        return app

    def _cookie(self, request: web.Request) -> str:
        return f"hlfd_session_{port_of(request)}"

    def _key(self, request: web.Request) -> str:
        return request.cookies.get(self._cookie(request), "")

    def _with_session(
        self, handler: Callable[[web.Request, Session], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            session = self.sessions.find(self._key(request))
            if session is None:
                raise web.HTTPGone(text="This session has ended. Load the page again.")
            session.left = None  # a page that is loaded again says that it leaves when the new one has begun already
            return await handler(request, session)

        return handle

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _state(self, request: web.Request) -> web.Response:
        state = self.sessions.state(self._key(request))
        session = self.sessions.find(self._key(request))
        if session is not None:
            session.left = None
        return web.json_response(state)

    async def _leave(self, request: web.Request) -> web.Response:
        session = self.sessions.find(self._key(request))
        if session is not None:
            session.page_left()
        return web.Response(status=204)

    async def _download(self, request: web.Request, session: Session) -> web.StreamResponse:
        session.touch()
        return await download(request, self.root, session)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """Answer with the page of the visitor's session, or with one that waits until there is one."""
        if request.query_string:  # the page would take the address of its session from there
            raise web.HTTPFound("/")
        session = self.sessions.find(self._key(request))
        state = self.sessions.state(self._key(request))["state"]
        if session is None or state == "failed":
            if session is not None:
                self.sessions.end(session, "It did not start.")
            return await self._new(request)
        session.left = None
        session.touch()
        if session.child is None or not session.child.alive:
            return wait_page()
        return await self._page_of(request, session)

    async def _new(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise web.HTTPForbidden(text="Only a page can start a session.")
        try:
            session = self.sessions.create()
        except BusyError as error:
            return wait_page(str(error), 503)
        response = wait_page() if session.child is None else await self._page_of(request, session)
        # Lax: a link on another site leads to the same session, not to a new one
        set_cookie(request, response, self._cookie(request), session.key, "Lax")
        return response

    async def _page_of(self, request: web.Request, session: Session) -> web.Response:
        try:
            page = await self._proxy.read(session, "/index.html")
        except (aiohttp.ClientError, asyncio.TimeoutError, HlfdError) as error:
            _log.error("a session process did not give its page: %s", error)
            raise web.HTTPBadGateway(text="The session does not answer. Load the page again.") from error
        policy = headers.application(page, request.headers.get("Host", ""))
        page = dress(page)
        response = web.Response(body=page, content_type="text/html", charset="utf-8")
        response.headers["Content-Security-Policy"] = policy
        return response
