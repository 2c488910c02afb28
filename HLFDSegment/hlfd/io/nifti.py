"""NIfTI-1 and NIfTI-2 single files, read and written without ITK.

ITK refuses slightly non-orthogonal sforms or replaces them by the nearest rotation, fills what a truncated file lacks
with zeros, ignores gzip checksums, and reports a full disk only on stderr. Format: NIfTI-1.1 and NIfTI-2
(nifti.nimh.nih.gov); arrays are Fortran-ordered (i, j, k), which is (k, j, i) in C order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import DamagedInputError, GeometryError, InputError, UnsupportedInputError
from hlfd.io.raw import Raw

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_CODES = {np.dtype(text): code for code, text in _TYPES.items()}
_OTHER_TYPES = {1: "bits", 32: "complex", 128: "RGB colour", 1792: "complex", 2304: "RGBA colour"}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_HEADER_SIZE = 348
_DATA_OFFSET = 352

# name -> (format, offset) for the two versions of the header
_V1 = {
    "dim": ("8h", 40),
    "datatype": ("h", 70),
    "pixdim": ("8f", 76),
    "vox_offset": ("f", 108),
    "scale": ("2f", 112),
    "units": ("b", 123),
    "codes": ("2h", 252),
    "quaternion": ("6f", 256),
    "srow": ("12f", 280),
}
_V2 = {
    "dim": ("8q", 16),
    "datatype": ("h", 12),
    "pixdim": ("8d", 104),
    "vox_offset": ("q", 168),
    "scale": ("2d", 176),
    "units": ("i", 500),
    "codes": ("2i", 344),
    "quaternion": ("6d", 352),
    "srow": ("12d", 400),
}


def _unpack(data: bytes) -> bytes:
    """Unpack gzip, by ISA-L in half the time where that is installed; both check lengths and checksums."""
    try:
        from isal import igzip, igzip_lib
    except ImportError:
        return gzip.decompress(data)
    try:
        unpacked: bytes = igzip.decompress(data)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub declares an instance
        raise zlib.error(str(error)) from error
    return unpacked


@dataclass(frozen=True)
class _Header:
    order: str
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    vox_offset: float
    scale: tuple[float, float]
    units: int
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    srow: tuple[float, ...]


def _contents(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return _unpack(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise DamagedInputError(
            f'"{path}" is truncated or damaged: its compressed data does not unpack ({error}).',
            "Copy or export the image again.",
        ) from error
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}.', "Check its permissions.") from error


def _parse(data: bytes, path: Path) -> _Header:
    for order in "<>":
        size = struct.unpack_from(order + "i", data)[0] if len(data) >= _DATA_OFFSET else 0
        if size == _HEADER_SIZE and data[344:347] == b"n+1":
            layout = _V1
        elif size == 540 and len(data) >= 544 and data[4:7] == b"n+2":
            layout = _V2
        else:
            continue
        values = {name: struct.unpack_from(order + form, data, at) for name, (form, at) in layout.items()}
        single = {name: value[0] if len(value) == 1 else value for name, value in values.items()}
        return _Header(order, **single)  # type: ignore[arg-type]
    raise DamagedInputError(
        f'"{path}" has no valid NIfTI header; a single-file NIfTI image was expected.',
        "Export the image again (pairs of .hdr and .img are not supported).",
    )


def _qform(header: _Header) -> NDArray[np.float64]:
    b, c, d, x, y, z = header.quaternion
    a = math.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    flip = -1.0 if header.pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(header.pixdim[1:4]) * [1.0, 1.0, flip]
    affine[:3, 3] = x, y, z
    return affine


def _affine(header: _Header) -> NDArray[np.float64]:
    """Return the sform if it is set, else the qform, else plain spacing, in mm."""
    qform_code, sform_code = header.codes
    sform = np.vstack([np.reshape(header.srow, (3, 4)), [0, 0, 0, 1]]).astype(np.float64)
    # some exporters set the code and leave the rows at zero
    if sform_code > 0 and (sform[:3, :3].any() or qform_code <= 0):
        affine = sform
    elif qform_code > 0:
        affine = _qform(header)
    else:
        affine = np.diag([*header.pixdim[1:4], 1.0]).astype(np.float64)
    affine[:3] *= _MM_PER_UNIT.get(header.units & 7, 1.0)
    return affine


def _shape(header: _Header, path: Path) -> tuple[int, ...]:
    count = header.dim[0]
    sizes = header.dim[1 : count + 1] if 1 <= count <= 7 else ()
    if not sizes or min(sizes) < 1:
        raise GeometryError(
            f'"{path}" declares {count} dimensions of sizes {list(sizes)}; positive sizes were expected.',
            "Export the image again.",
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return tuple(sizes[::-1])


def _values(data: bytes, header: _Header, path: Path) -> NDArray:
    if header.datatype not in _TYPES:
        kind = _OTHER_TYPES.get(header.datatype, f"unknown (code {header.datatype})")
        raise UnsupportedInputError(
            f'"{path}" stores {kind} values; one number per voxel was expected.', "Export the image as greyscale CT."
        )
    dtype = np.dtype(header.order + _TYPES[header.datatype])
    shape = _shape(header, path)
    offset, count = header.vox_offset, math.prod(shape)
    if not (math.isfinite(offset) and offset >= _DATA_OFFSET and offset + count * dtype.itemsize <= len(data)):
        raise DamagedInputError(
            f'"{path}" is truncated: {len(data)} bytes are there, its header of shape {shape} asks for more.',
            "Copy or export the image again.",
        )
    return np.frombuffer(data, dtype, count, int(offset)).reshape(shape)


def _rescaled(values: NDArray, scale: tuple[float, float]) -> NDArray:
    slope, intercept = scale
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)) or (slope, intercept) == (1, 0):
        return values
    whole = slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 2**20
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and whole:
        return values.astype(np.int64) * int(slope) + int(intercept)
    return values.astype(np.float64) * slope + intercept


def read_nifti(path: Path) -> Raw:
    """Read a .nii or .nii.gz file; raise ``InputError`` for what is truncated, damaged or not greyscale.

    The affine is the sform, as nibabel and 3D Slicer prefer it; int16 values are not copied.
    """
    data = _contents(path)
    header = _parse(data, path)
    return Raw(_rescaled(_values(data, header, path), header.scale), _affine(header))


def _quaternion(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return b, c, d of the unit quaternion with a >= 0 nearest to a proper rotation (largest eigenvector)."""
    r = rotation
    # Bar-Itzhack 2000: the quaternion is the eigenvector of the largest eigenvalue, also for inexact rotations
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    b, c, d, a = np.linalg.eigh(k)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return float(sign * b), float(sign * c), float(sign * d)


def _header_bytes(array: NDArray, affine: NDArray[np.float64]) -> bytes:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    rotation = affine[:3, :3] / spacing
    flip = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    k, j, i = array.shape
    header = bytearray(_DATA_OFFSET)
    values = {
        "dim": (3, i, j, k, 1, 1, 1, 1),
        "datatype": (_CODES[array.dtype],),
        "pixdim": (flip, *spacing, 0, 0, 0, 0),
        "vox_offset": (_DATA_OFFSET,),
        "scale": (1, 0),
        "units": (2,),
        "codes": (1, 1),  # scanner coordinates in both, as ITK writes
        "quaternion": (*_quaternion(rotation * [1.0, 1.0, flip]), *affine[:3, 3]),
        "srow": tuple(affine[:3].ravel()),
    }
    struct.pack_into("<i", header, 0, _HEADER_SIZE)
    struct.pack_into("<h", header, 72, array.dtype.itemsize * 8)
    header[344:348] = b"n+1\0"
    for name, value in values.items():
        form, at = _V1[name]
        struct.pack_into("<" + form, header, at, *value)
    return bytes(header)


def write_nifti(array: NDArray, affine: NDArray[np.float64], path: Path) -> None:
    """Write (k, j, i) values of type uint8, int16 or float32 with sform and qform; gzip by the suffix.

    Raises ``GeometryError`` above 32767 voxels along an axis, and ``OSError`` as the file system does.
    """
    if max(array.shape) > 32767:
        raise GeometryError(f"NIfTI-1 holds at most 32767 voxels along an axis; the shape is {array.shape}.")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    # level 3: label maps shrink as well as at 6 in half the time; mtime 0 makes equal images equal files
    with path.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 3, raw, mtime=0) as stream:
                stream.write(_header_bytes(array, affine))
                stream.write(little.data)
        else:
            raw.write(_header_bytes(array, affine))
            raw.write(little.data)
