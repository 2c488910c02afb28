"""A zip of a DICOM series, unpacked so that it can neither leave its folder nor fill the disk."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from hlfd.errors import DamagedInputError, DiskFullError, EmptyInputError, InputError

MAX_FILES = 20_000
MAX_UNPACKED = 8 << 30
MAX_RATIO = 200
"""Of one member: DICOM slices shrink to a third or so, empty ones to a hundredth; bombs reach 1000."""
KEEP_FREE = 1 << 30
"""Bytes that uploads leave on the disk."""


def unpack_dicom(archive: Path, folder: Path, name: str) -> int:
    """Write the DICOM files of ``archive`` into ``folder`` as 00001.dcm and so on; return how many there are.

    Names inside are never used. Raises ``InputError`` for a zip that names a place outside, holds a link, is encrypted
    or unpacks to too much, ``EmptyInputError`` for one without a DICOM file; the caller removes ``folder`` then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check(members, name)
            found = 0
            left = MAX_UNPACKED
            for member in members:
                if not member.is_dir():
                    size = _unpack(opened, member, folder / f"{found + 1:05d}.dcm", left, name)
                    left -= size
                    found += size > 0
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise DamagedInputError(f'"{name}" is not a readable zip file: {error}.', "Make it again.") from error
    if not found:
        raise EmptyInputError(f'"{name}" holds no DICOM file.', "Zip the folder of one CT series.")
    return found


def _check(members: list[zipfile.ZipInfo], name: str) -> None:
    if len(members) > MAX_FILES:
        raise InputError(f'"{name}" holds {len(members)} files; at most {MAX_FILES} were expected.', "Zip one series.")
    for member in members:
        posix, windows = PurePosixPath(member.filename), PureWindowsPath(member.filename)
        if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts or "\0" in member.filename:
            raise InputError(f'"{name}" names a place outside of it: {member.filename[:80]!a}.', "Do not use it.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f'"{name}" holds a link or a special file: {member.filename[:80]!a}.', "Do not use it.")
        if member.flag_bits & 1:
            raise InputError(f'"{name}" is encrypted.', "Zip the files without a password.")
        if member.file_size > MAX_RATIO * max(member.compress_size, 1024):
            raise _bomb(name)
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        raise _bomb(name)


def _bomb(name: str) -> InputError:
    return InputError(f'"{name}" unpacks to more than a CT series can hold.', "Zip the files of one series.")


def _unpack(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int, name: str) -> int:
    """Write one member if it is DICOM; return its size, 0 if it is not. Sizes in the zip are not trusted."""
    with opened.open(member) as stream:
        block = stream.read(1 << 20)
        if block[128:132] != b"DICM":
            return 0
        if shutil.disk_usage(target.parent).free < len(block) + KEEP_FREE:
            raise DiskFullError("The disk of the server is full.", "Tell its owner.")
        written = 0
        with target.open("xb") as out:
            while block:
                written += len(block)
                if written > min(left, MAX_RATIO * max(member.compress_size, 1024)):
                    raise _bomb(name)
                out.write(block)
                block = stream.read(1 << 20)
    return written
