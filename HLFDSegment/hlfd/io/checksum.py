"""Check the compressed data of NRRD and MetaImage files, since ITK ignores the checksums that gzip and zlib carry."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from hlfd.errors import DamagedInputError, InputError

_MAX_HEADER = 1 << 20
_BLOCK = 1 << 20


def _value(header: bytes, key: bytes, separator: bytes) -> str:
    match = re.search(rb"(?im)^" + key + rb"\s*" + separator + rb"\s*(.*?)\s*$", header)
    return match[1].decode("utf-8", "replace") if match else ""


def _payload(path: Path) -> tuple[Path, int] | None:
    """Return the file and offset of a gzip or zlib stream, or None where the data is not compressed in one stream."""
    with path.open("rb") as stream:
        start = stream.read(_MAX_HEADER)
    if start.startswith(b"NRRD"):
        end = re.search(rb"\r?\n\r?\n", start)
        header = start[: end.start()] if end else start
        skips = re.search(rb"(?im)^(line|byte) ?skip:", header)
        if _value(header, b"encoding", b":").lower() not in ("gzip", "gz") or skips:
            return None
        name, offset = _value(header, b"data ?file", b":"), end.end() if end else len(start)
    else:
        end = re.search(rb"(?m)^ElementDataFile\s*=\s*(.*?)\r?\n", start)
        header = start[: end.end()] if end else start
        if _value(header, b"CompressedData", b"=").lower() != "true" or end is None:
            return None
        name, offset = end[1].decode("utf-8", "replace").strip(), end.end()
        name = "" if name == "LOCAL" else name
    if not name:
        return path, offset
    data = path.parent / name
    return (data, 0) if data.is_file() else None  # lists and patterns of files are left to ITK


def verify_checksum(path: Path) -> None:
    """Raise ``DamagedInputError`` if the compressed data of an NRRD or MetaImage file is truncated or changed."""
    try:
        payload = _payload(path)
        if payload is None:
            return
        file, offset = payload
        unpacker = zlib.decompressobj(47)  # gzip or zlib, whichever the stream says
        with file.open("rb") as stream:
            stream.seek(offset)
            while not unpacker.eof and (block := stream.read(_BLOCK)):
                unpacker.decompress(block)
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}.', "Check its permissions.") from error
    except zlib.error as error:
        raise DamagedInputError(
            f'"{file}" is damaged: its compressed data does not unpack ({error}).', "Copy or export the image again."
        ) from error
    if not unpacker.eof:
        raise DamagedInputError(f'"{file}" is truncated: its compressed data ends early.', "Copy the image again.")
