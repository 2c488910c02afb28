"""The few DICOM attributes of one slice that decide how a series is put together."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from hlfd.io.itk import quiet_itk

# transfer syntaxes that GDCM decodes: native, deflated, RLE, JPEG, JPEG-LS and JPEG 2000 (DICOM PS3.6 annex A)
_READABLE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"} | {
    f"1.2.840.10008.1.2.{tail}" for tail in ("5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91")
}
_NAMES = {
    "4.201": "HTJ2K",
    "4.202": "HTJ2K",
    "4.203": "HTJ2K",
    "4.100": "MPEG-2",
    "4.102": "MPEG-4",
    "4.110": "JPEG XL",
}


@dataclass(frozen=True)
class SliceHeader:
    """One DICOM image file: series, position and orientation (LPS, mm), spacing of rows and columns in mm."""

    path: Path
    uid: str
    number: str
    description: str
    modality: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, int]
    frames: int

    @property
    def group(self) -> tuple:
        """What files of one volume have in common; localisers of a series differ in orientation or size."""
        return (self.uid, self.modality, self.size, *(round(value, 2) for value in self.orientation))


def _numbers(text: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return default
    return values if len(values) == count else default


def read_header(path: Path) -> SliceHeader | None:
    """Return the header of a DICOM file, or None where it holds no image."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:
        return None

    def text(key: str) -> str:
        return reader.GetMetaData(key).strip(" \0") if reader.HasMetaDataKey(key) else ""

    size = reader.GetSize()
    frames = int(size[2]) if len(size) > 2 else 1
    return SliceHeader(
        path=path,
        uid=text("0020|000e"),
        number=text("0020|0011"),
        description=text("0008|103e"),
        modality=text("0008|0060"),
        position=_numbers(text("0020|0032"), 3, (0.0, 0.0, 0.0)),
        orientation=_numbers(text("0020|0037"), 6, (0.0,) * 6),
        spacing=_numbers(text("0028|0030"), 2, (0.0, 0.0)),
        size=(int(size[0]), int(size[1])),
        frames=frames,
    )


def transfer_syntax(path: Path) -> tuple[str, bool]:
    """Return the name or UID of the compression in a DICOM file, and whether it is one that can be decoded.

    Reads the file meta group, which is always explicit little endian (DICOM PS3.10, 7.1).
    """
    with path.open("rb") as stream:
        data = stream.read(4096)
    at = 132
    while at + 8 <= len(data):
        group, element, kind, length = struct.unpack_from("<HH2sH", data, at)
        start = at + 8
        if kind in (b"OB", b"OW", b"UN"):
            length, start = struct.unpack_from("<I", data, at + 8)[0] if at + 12 <= len(data) else 0, at + 12
        if group != 2:
            break
        if element == 0x10:
            uid = data[start : start + length].decode("ascii", "replace").strip(" \0")
            return _NAMES.get(uid.removeprefix("1.2.840.10008.1.2."), uid), uid in _READABLE
        at = start + length
    return "an unknown transfer syntax", False
