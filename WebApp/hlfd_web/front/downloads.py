"""Downloads: files of results and projects, and what a session made for its page, always as files to be saved."""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

from hlfd.errors import InputError
from hlfd_web.files import DataRoot, check_part
from hlfd_web.front.headers import FILE
from hlfd_web.front.sessions import Session

KINDS = ("results", "projects", "session")
_BLOCK = 256 << 10
_SHOWN = {".html": "text/html; charset=utf-8", ".png": "image/png"}


async def download(request: web.Request, root: DataRoot, session: Session) -> web.StreamResponse:
    """Answer ``/files/KIND/NAME``; with ``?show`` a report or picture is shown in a page without any rights."""
    kind, name = request.match_info["kind"], request.match_info["name"]
    if kind not in KINDS:
        raise web.HTTPNotFound
    try:
        stream = await asyncio.to_thread(_open_private if kind == "session" else _open, root, session, kind, name)
    except (InputError, OSError) as error:
        raise web.HTTPNotFound(text="There is no such file.") from error
    with stream:
        return await _send(request, stream, name.rpartition("/")[2])


def _open(root: DataRoot, session: Session, kind: str, name: str) -> BinaryIO:
    return root.open(f"{kind}/{name}")


def _open_private(root: DataRoot, session: Session, kind: str, name: str) -> BinaryIO:
    check_part(name, name)
    if "/" in name or session.child is None:
        raise InputError("There is no such file.")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    stream = os.fdopen(os.open(session.child.folder / "downloads" / name, flags), "rb")
    if not os.path.isfile(stream.fileno()):
        stream.close()
        raise InputError("There is no such file.")
    return stream


async def _send(request: web.Request, stream: BinaryIO, name: str) -> web.StreamResponse:
    size = os.fstat(stream.fileno()).st_size
    response = web.StreamResponse()
    suffix = name[name.rfind(".") :].lower()
    shown = "show" in request.query and suffix in _SHOWN
    response.headers["Content-Type"] = _SHOWN[suffix] if shown else "application/octet-stream"
    response.headers["Content-Disposition"] = f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(name)}"
    response.headers["Content-Security-Policy"] = FILE
    response.content_length = size
    await response.prepare(request)
    left = size if request.method == "GET" else 0
    while left > 0:
        block = await asyncio.to_thread(stream.read, min(_BLOCK, left))
        if not block:  # the file shrank meanwhile: the connection ends early, which the browser reports
            break
        left -= len(block)
        await response.write(block)
    await response.write_eof()
    return response
