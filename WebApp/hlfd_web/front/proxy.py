"""Passes requests and the websocket of a page on to the process of its session, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import re

import aiohttp
from aiohttp import WSMsgType, web

from hlfd_web.front.assets import SHARED, Assets
from hlfd_web.front.assets import answer as send_asset
from hlfd_web.front.chunks import MAX_CHUNK, ChunkGate
from hlfd_web.front.guard import HEADER
from hlfd_web.front.sessions import Session

_PATH = re.compile(r"/[A-Za-z0-9_][A-Za-z0-9._~@+-]*(/[A-Za-z0-9_][A-Za-z0-9._~@+-]*){0,8}")
_MAX_PATH = 300
_QUERY = re.compile(r"[A-Za-z0-9._~=&+-]{0,500}")
_ASKED = ("Accept", "If-None-Match", "If-Modified-Since", "Range")
_ANSWERED = ("Content-Type", "Content-Length", "ETag", "Last-Modified", "Content-Range", "Accept-Ranges")
_MAX_FROM_SESSION = 64 << 20
_HEARTBEAT = 30.0
_MAX_SOCKETS = 8  # of one session


class Proxy:
    """One pool of connections to the processes of all sessions."""

    def __init__(self) -> None:
        self._assets = Assets()
        # loopback alone: an environment with a proxy must not see what goes through here
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, force_close=False),
            timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_read=60),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def read(self, session: Session, path: str) -> bytes:
        """Return a small file of the session's process whole."""
        async with self._client.get(_address(session, path), headers=_secret(session)) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def pass_on(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Answer with a file of the session's process."""
        path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))
        if len(path) > _MAX_PATH or not _PATH.fullmatch(path) or not _QUERY.fullmatch(query) or request.body_exists:
            raise web.HTTPNotFound
        if SHARED.match(path):
            return await self._shared(request, session, path)
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        address = _address(session, path + (f"?{query}" if query else ""))
        try:
            async with self._client.request(
                request.method, address, headers={**headers, **_secret(session)}, allow_redirects=False
            ) as answer:
                return await _copy(request, answer)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            raise web.HTTPBadGateway(text="The session does not answer. Load the page again.") from error

    async def _shared(self, request: web.Request, session: Session, path: str) -> web.Response:
        asset = self._assets.find(path)
        if asset is None:
            try:
                async with self._client.get(_address(session, path), headers=_secret(session)) as found:
                    if found.status != 200:
                        raise web.HTTPNotFound
                    kind = found.headers.get("Content-Type", "application/octet-stream")
                    asset = await self._assets.keep(path, kind, found.headers.get("ETag", ""), await found.read())
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                raise web.HTTPBadGateway(text="The session does not answer. Load the page again.") from error
        return send_asset(request, asset)

    async def pass_on_socket(self, request: web.Request, session: Session) -> web.WebSocketResponse:
        """Join the websocket of a page with one of the session's process until either ends.

        Neither side compresses: the frames are images, which are compressed already.
        """
        if session.sockets >= _MAX_SOCKETS:
            raise web.HTTPTooManyRequests(text="This session is open in too many pages.")
        page = web.WebSocketResponse(max_msg_size=MAX_CHUNK, compress=False, heartbeat=_HEARTBEAT)
        if request.method != "GET" or not page.can_prepare(request).ok:
            raise web.HTTPBadRequest(text="A websocket was expected.")
        session.page_opened()
        ended = asyncio.Event()
        session.closers.append(ended.set)
        try:
            async with self._client.ws_connect(
                _address(session, "/ws"), headers=_secret(session), max_msg_size=_MAX_FROM_SESSION, compress=0
            ) as inner:
                await page.prepare(request)
                await _join(page, inner, session, ended)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            if not page.prepared:
                raise web.HTTPBadGateway(text="The session does not answer. Load the page again.") from error
        finally:
            session.page_closed()
            session.closers.remove(ended.set)
            if page.prepared:
                with contextlib.suppress(ConnectionError):
                    await page.close()
        return page


def _address(session: Session, path: str) -> str:
    child = session.child
    if child is None or not child.alive:
        raise web.HTTPServiceUnavailable(text="The session is not ready.")
    return f"http://127.0.0.1:{child.port}{path}"


def _secret(session: Session) -> dict[str, str]:
    return {HEADER: session.child.secret} if session.child else {}


async def _copy(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    if 300 <= answer.status < 400 and answer.status != 304:
        raise web.HTTPNotFound  # a session process has no reason to send a page elsewhere
    response = web.StreamResponse(status=answer.status)
    for name in _ANSWERED:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    if answer.headers.get("Content-Encoding") in ("gzip", "br"):
        response.headers["Content-Encoding"] = answer.headers["Content-Encoding"]
    response.headers["Cache-Control"] = "no-cache"
    await response.prepare(request)
    if request.method == "GET":
        async for block in answer.content.iter_any():
            await response.write(block)
    await response.write_eof()
    return response


async def _join(
    page: web.WebSocketResponse, inner: aiohttp.ClientWebSocketResponse, session: Session, ended: asyncio.Event
) -> None:
    ways = (_up(page, inner, session), _down(inner, page, session), ended.wait())
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _up(page: web.WebSocketResponse, inner: aiohttp.ClientWebSocketResponse, session: Session) -> None:
    gate = ChunkGate()
    async for message in page:
        if message.type is not WSMsgType.BINARY or not gate.passes(message.data):
            return
        session.touch()
        await inner.send_bytes(message.data)


async def _down(inner: aiohttp.ClientWebSocketResponse, page: web.WebSocketResponse, session: Session) -> None:
    async for message in inner:
        if message.type is not WSMsgType.BINARY:
            return
        session.touch()
        await page.send_bytes(message.data)
