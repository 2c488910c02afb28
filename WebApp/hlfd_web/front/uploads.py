"""Uploads: streamed to disk under a hidden name, checked, and only then given a name; half ones leave nothing."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from hlfd.errors import DiskFullError, HlfdError, InputError
from hlfd.files import output_error
from hlfd_web.files import DataRoot
from hlfd_web.front.archives import KEEP_FREE, unpack_dicom
from hlfd_web.front.batches import PART, Batch, put, put_folder
from hlfd_web.front.kinds import check_image, safe_name, suffix_of
from hlfd_web.front.sessions import Session

_BATCH = re.compile(r"[0-9a-f]{16}")
_BLOCK = 1 << 20
_STALL_SECONDS = 60.0
_MAX_AT_ONCE = 4  # of one session


class Uploads:
    """Takes files of pages into the data root, or model packages into the private folder of a session."""

    def __init__(self, root: DataRoot, most_bytes: int) -> None:
        self._root = root
        self._most = most_bytes
        for left in root.uploads.glob(f"{PART}*"):  # of a server that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()

    async def take(self, request: web.Request, session: Session) -> web.Response:
        """Answer ``POST /files/upload?name=N&purpose=image|model&batch=ID`` with the file as body.

        Answers 200 with its final name and path, else 4xx or 507 with a message. Files of one batch (the slices of a
        DICOM series) come into one folder, which gets its name by ``finish``.
        """
        purpose, batch = request.query.get("purpose", "image"), request.query.get("batch", "")
        if session.uploads >= _MAX_AT_ONCE:
            return _refused(429, "Too many uploads at once. Wait for the others.")
        if purpose not in ("image", "model") or (batch and not _BATCH.fullmatch(batch)):
            return _refused(400, "This upload is for nothing that the server knows.")
        size = request.content_length
        if size is not None and size > self._most:
            return self._too_large()
        session.uploads += 1
        try:
            name = safe_name(request.query.get("name", "")[:1000])
            self._check_name(name, purpose)
            if shutil.disk_usage(self._root.folder).free < (size or 0) + KEEP_FREE:
                raise DiskFullError("The disk of the server is full.", "Tell its owner.")
            return await self._take(request, session, name, purpose, batch)
        except HlfdError as error:
            return _refused(507 if isinstance(error, DiskFullError) else 422, str(error))
        except OSError as error:
            return _refused(507, str(output_error(self._root.uploads, error)))
        finally:
            session.uploads -= 1
            session.touch()

    @staticmethod
    def _check_name(name: str, purpose: str) -> None:
        if purpose == "model" and not name.lower().endswith(".zip"):
            raise InputError(f'"{name}" is no model package; a .zip file was expected.', "Export the model again.")
        if purpose == "image":
            suffix_of(name)

    async def _take(self, request: web.Request, session: Session, name: str, purpose: str, batch: str) -> web.Response:
        folder = self._root.uploads
        if purpose == "model":
            if session.child is None:
                return _refused(409, "The session is not ready.")
            folder = session.child.folder / "uploads"
            folder.mkdir(exist_ok=True)
        part = folder / f"{PART}{secrets.token_hex(8)}"
        try:
            if not await self._receive(request, part, session):
                return self._too_large()
            if purpose == "model":
                path = await asyncio.to_thread(put, part, folder, name)
                return web.json_response({"name": path.name, "path": path.name})
            placed = await asyncio.to_thread(self._place, part, name, batch, session)
            shown = self._root.name_of(placed) if placed else ""
            return web.json_response({"name": placed.name if placed else name, "path": shown})
        finally:
            part.unlink(missing_ok=True)

    async def _receive(self, request: web.Request, part: Path, session: Session) -> bool:
        """Write the body to ``part`` and to disk; return False when it is larger than allowed."""
        written = 0
        with part.open("xb") as out:
            while True:
                try:
                    block = await asyncio.wait_for(_block(request), _STALL_SECONDS)
                except asyncio.TimeoutError as error:
                    raise InputError("The upload stopped half way.", "Try again.") from error
                if not block:
                    break
                written += len(block)
                if written > self._most:
                    return False
                session.touch()
                await asyncio.to_thread(out.write, block)
            await asyncio.to_thread(_sync, out)
        if not written:
            raise InputError("The file is empty.", "Choose another one.")
        return True

    def _place(self, part: Path, name: str, batch: str, session: Session) -> Path | None:
        """Check what came; return the file or folder that it becomes, None for one of a batch, which comes later."""
        if name.lower().endswith(".zip") and not batch:
            return self._unpack(part, name)
        check_image(part, name)
        if not batch:
            return put(part, self._root.uploads, name)
        if batch not in session.batches:
            session.batches[batch] = Batch(self._root.uploads / f"{PART}series-{secrets.token_hex(8)}", session)
        session.batches[batch].add(part, name)
        return None

    async def finish(self, request: web.Request, session: Session) -> web.Response:
        """Answer ``POST /files/finish?batch=ID``: give the folder of a batch its name; ``discard=1`` removes it."""
        batch = session.batches.pop(request.query.get("batch", ""), None)
        if batch is None:
            return _refused(404, "None of the files is an image that can be opened.")
        try:
            if request.query.get("discard"):
                await asyncio.to_thread(batch.discard)
                return web.json_response({})
            path = await asyncio.to_thread(batch.finish, self._root.uploads)
        except OSError as error:
            return _refused(507, str(output_error(self._root.uploads, error)))
        finally:
            batch.forget(session)
        return web.json_response({"name": path.name, "path": self._root.name_of(path)})

    def _unpack(self, part: Path, name: str) -> Path:
        staged = part.with_name(f"{part.name}-series")
        staged.mkdir()
        try:
            unpack_dicom(part, staged, name)
            return put_folder(staged, self._root.uploads, name[: -len(".zip")].replace(".", "_"))
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _too_large(self) -> web.Response:
        return _refused(413, f"The file is larger than {self._most >> 20} MB, the limit of this server.")


async def _block(request: web.Request) -> bytes:
    """Return about a megabyte of the body, empty at its end."""
    pieces, size = [], 0
    while size < _BLOCK:
        piece = await request.content.read(_BLOCK - size)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())


def _refused(status: int, message: str) -> web.Response:
    response = web.json_response({"message": message}, status=status)
    if status in (413, 429):
        response.force_close()  # the rest of the body is not waited for
    return response
