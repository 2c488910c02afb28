"""What an uploaded file must be before it gets a name: an image in one file whose header promises no more than fits.

An image header can name other files of the server as its data (NRRD, MetaImage) or promise any size; readers of images
believe both. Formats: NIfTI-1.1 and NIfTI-2 (nifti.nimh.nih.gov), NRRD (teem.sourceforge.net/nrrd), MetaImage (ITK).
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import BinaryIO

from hlfd.errors import DamagedInputError, InputError, UnsupportedInputError

IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm")
MAX_IMAGE = 4 << 30
"""Bytes of voxels in memory; a CT of 512 x 512 x 2000 voxels has 1 GiB."""
_MAX_HEADER = 1 << 20
_NRRD_BYTES = {"char": 1, "int8": 1, "int8_t": 1, "short": 2, "int16": 2, "int": 4, "int32": 4, "float": 4, "uint": 4}
_META_BYTES = {"CHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4}
_WIDEST = 8
_SAFE = re.compile(r"[^\w.+() -]", re.UNICODE)


def safe_name(name: str) -> str:
    """Return a file name that is harmless everywhere: letters, digits, ``. _ - + ( )`` and blanks, not hidden."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = _SAFE.sub("_", last).strip()
    suffix = next((ending for ending in (*IMAGES, ".zip") if plain.lower().endswith(ending)), "")
    stem = plain[: len(plain) - len(suffix)].strip(". ").encode()[:120].decode("utf-8", "ignore")
    return (stem or "file") + suffix


def suffix_of(name: str) -> str:
    """Return which of the suffixes that are taken ``name`` has, empty for one without any (a DICOM slice).

    Raises ``UnsupportedInputError`` for all other names.
    """
    low = name.lower()
    for suffix in (*IMAGES, ".zip"):
        if low.endswith(suffix):
            return suffix
    if low.endswith((".mhd", ".nhdr", ".hdr", ".img")):
        raise UnsupportedInputError(
            f'"{name}" keeps its voxels in a second file.', "Save it as one file: .nii.gz, .nrrd or .mha."
        )
    if "." not in name or low.endswith(".ima") or re.fullmatch(r"[\d.]+", name):  # named by number or UID
        return ""
    raise UnsupportedInputError(
        f'"{name}" is no image that can be opened.', "Choose .nii, .nii.gz, .nrrd, .mha, DICOM files, or a zip of them."
    )


def check_image(path: Path, name: str) -> None:
    """Raise an ``InputError`` unless the file is what its name says, in itself, and of a size that fits."""
    suffix = suffix_of(name)
    with path.open("rb") as stream:
        if suffix == ".nii.gz":
            _check_gzip(stream, name)
        elif suffix == ".nii":
            _promised(_nifti(stream.read(544), name), name)
        elif suffix == ".nrrd":
            _promised(_nrrd(_lines(stream, b"NRRD000", name), name), name)
        elif suffix == ".mha":
            _promised(_meta(stream, name), name)
        elif not is_dicom(stream):
            raise DamagedInputError(f'"{name}" is no DICOM file.', "Choose the files of one CT series.")


def is_dicom(stream: BinaryIO) -> bool:
    """Return whether a file carries the DICOM prefix; the stream is read up to there."""
    return stream.read(132)[128:] == b"DICM"


def _promised(size: float, name: str) -> None:
    if not 0 < size <= MAX_IMAGE:
        raise UnsupportedInputError(
            f'"{name}" promises {size / 2**30:.1f} GiB of voxels; at most {MAX_IMAGE >> 30} were expected.',
            "Crop the image to the abdomen.",
        )


def _not_an_image(name: str) -> DamagedInputError:
    return DamagedInputError(f'"{name}" is damaged, or not what its name says.', "Export the image again.")


def _nifti(header: bytes, name: str) -> float:
    """Return the bytes of voxels that a NIfTI header promises, with what lies before them."""
    for order in "<>":
        if len(header) >= 348 and struct.unpack_from(order + "i", header)[0] == 348:
            dim, bits = struct.unpack_from(order + "8h", header, 40), struct.unpack_from(order + "h", header, 72)[0]
        elif len(header) >= 540 and struct.unpack_from(order + "i", header)[0] == 540:
            dim, bits = struct.unpack_from(order + "8q", header, 16), struct.unpack_from(order + "h", header, 14)[0]
        else:
            continue
        if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1 or not 1 <= bits <= 128:
            break
        return math.prod(float(count) for count in dim[1 : dim[0] + 1]) * bits / 8
    raise _not_an_image(name)


def _check_gzip(stream: BinaryIO, name: str) -> None:
    """Unpack it once without keeping it: no more may come out than the header inside promises."""
    try:
        with gzip.GzipFile(fileobj=stream) as inner:
            start = inner.read(544)
            size = _nifti(start, name)
            _promised(size, name)
            seen, most = len(start), size + _MAX_HEADER
            while block := inner.read(1 << 20):
                seen += len(block)
                if seen > most:
                    raise DamagedInputError(f'"{name}" unpacks to more than its header promises.', "Export it again.")
    except (OSError, EOFError, zlib.error) as error:
        raise _not_an_image(name) from error


def _lines(stream: BinaryIO, magic: bytes, name: str) -> dict[str, str]:
    """Return the fields of a text header that ends with an empty line."""
    fields: dict[str, str] = {}
    first = stream.readline(256)
    if not first.startswith(magic):
        raise _not_an_image(name)
    while stream.tell() < _MAX_HEADER:
        line = stream.readline(_MAX_HEADER)
        text = line.decode("utf-8", "replace").strip()
        if not line.endswith(b"\n"):
            break
        if not text:
            return fields
        key, _, value = text.partition(":")
        fields[key.strip().lower()] = value.strip()
    raise _not_an_image(name)


def _nrrd(fields: dict[str, str], name: str) -> float:
    if {"data file", "datafile"} & fields.keys():
        raise InputError(f'"{name}" keeps its voxels in another file.', "Save it as one file.")
    kind = fields.get("type", "").replace("unsigned ", "").replace("signed ", "")
    return _count(fields.get("sizes", ""), name) * _NRRD_BYTES.get(kind, _WIDEST)


def _meta(stream: BinaryIO, name: str) -> float:
    fields: dict[str, str] = {}
    while "elementdatafile" not in fields:  # always the last line of the header
        line = stream.readline(4096)
        if not line.endswith(b"\n") or stream.tell() > _MAX_HEADER:
            raise _not_an_image(name)
        key, _, value = line.decode("utf-8", "replace").partition("=")
        fields[key.strip().lower()] = value.strip()
    if fields["elementdatafile"].upper() != "LOCAL":
        raise InputError(f'"{name}" keeps its voxels in another file.', "Save it as one file.")
    kind = fields.get("elementtype", "").upper().removeprefix("MET_").replace("UCHAR", "CHAR")
    channels = fields.get("elementnumberofchannels", "1")
    return _count(f"{fields.get('dimsize', '')} {channels}", name) * _META_BYTES.get(kind, _WIDEST)


def _count(text: str, name: str) -> float:
    try:
        sizes = [float(int(word)) for word in text.split()]
    except ValueError as error:
        raise _not_an_image(name) from error
    if not sizes or min(sizes) < 1 or len(sizes) > 10:
        raise _not_an_image(name)
    return math.prod(sizes)
