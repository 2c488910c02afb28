"""DICOM CT series: list those of a folder, choose one, check its slices, and read it.

Slices are ordered and spaced by ImagePositionPatient (DICOM PS3.3 C.7.6.2), never by file name, instance number or
SliceThickness. Rescale slope and intercept are applied by GDCM while reading.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hlfd.errors import (
    DamagedInputError,
    EmptyInputError,
    GeometryError,
    InputError,
    NotCtError,
    SeriesChoiceError,
    UnsupportedInputError,
)
from hlfd.events import OnEvent, Warn, ignore
from hlfd.io.dicom_header import SliceHeader, read_header, transfer_syntax
from hlfd.io.itk import quiet_itk, read_itk, to_raw, translate
from hlfd.io.raw import Raw, is_dicom

_CLEARLY_LARGER = 3
_GAP_TOLERANCE = 0.1
_TILT_DEGREES = 0.5
_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class SeriesInfo:
    """One DICOM series of a folder, or the part of it with one image size and orientation."""

    uid: str
    number: str
    description: str
    modality: str
    slices: tuple[SliceHeader, ...]

    @property
    def summary(self) -> str:
        """One line for lists and messages."""
        count = sum(header.frames for header in self.slices)
        return f'{self.modality} "{self.description}" (number {self.number}, {count} slices, UID {self.uid})'


def _headers(folder: Path) -> tuple[list[SliceHeader], list[Path]]:
    """Return the headers of the DICOM images below ``folder``, and the DICOM files without a readable image."""
    try:
        files = sorted(entry for entry in folder.rglob("*") if entry.is_file() and entry.name != "DICOMDIR")
        list(folder.iterdir())  # rglob passes over folders it may not enter
    except OSError as error:
        raise InputError(
            f'The folder "{folder}" cannot be read: {error.strerror}.', "Check its permissions."
        ) from error
    if not files:
        raise EmptyInputError(f'The folder "{folder}" is empty; a DICOM series was expected.', "Choose another folder.")
    dicom = [file for file in files if file.stat().st_size and is_dicom(file)]
    if not dicom:
        raise EmptyInputError(
            f'The folder "{folder}" holds {len(files)} files but no DICOM image.',
            "Choose the folder of the series, or an image file.",
        )
    read = [(file, read_header(file)) for file in dicom]
    headers = [header for _, header in read if header is not None]
    others = [file for file, header in read if header is None]
    if not headers:
        raise _refused(others[0])
    return headers, others


def _refused(path: Path, error: Exception | None = None) -> InputError:
    """Return the error for a DICOM file that GDCM does not read, naming the compression if that is the reason."""
    name, readable = transfer_syntax(path)
    if not readable:
        return UnsupportedInputError(
            f'The image in "{path}" is stored as {name}, which cannot be decoded.',
            "Export the series uncompressed, or decompress it, for example with gdcmconv or dcmdjpeg.",
        )
    if error is not None:
        return translate(error, path)
    return DamagedInputError(f'"{path}" holds no image or is damaged.', "Choose the folder of a CT series.")


def _group(headers: list[SliceHeader]) -> list[SeriesInfo]:
    groups: dict[tuple, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[header.group].append(header)
    series = [
        SeriesInfo(first.uid, first.number, first.description, first.modality, tuple(slices))
        for slices in groups.values()
        for first in slices[:1]
    ]
    return sorted(series, key=lambda item: -sum(header.frames for header in item.slices))


def list_series(folder: Path | str) -> list[SeriesInfo]:
    """Return the image series below ``folder``, the one with most slices first.

    Raises ``EmptyInputError`` where there is no DICOM file, ``UnsupportedInputError`` or ``DamagedInputError`` where
    none can be read, and ``InputError`` where the folder cannot be entered.
    """
    return _group(_headers(Path(folder))[0])


def choose_series(found: list[SeriesInfo], series: str | None, on_event: OnEvent = ignore) -> SeriesInfo:
    """Return the series named by UID, number or description, or the only CT volume among them.

    A CT with at least three times the slices of every other is chosen with a ``Warn``; else ``SeriesChoiceError``
    lists the choice. Raises ``NotCtError`` where no series is CT.
    """
    listing = "; ".join(item.summary for item in found)
    if series is not None:
        found = [item for item in found if series in (item.uid, item.number, item.description)]
        if not found:
            raise SeriesChoiceError(f'There is no series "{series}". Found: {listing}.', "Choose one of these.")
        if len({item.uid for item in found}) > 1:
            raise SeriesChoiceError(f'"{series}" names several series: {listing}.', "Choose one by its UID.")
    scans = [item for item in found if item.modality == "CT"]
    if not scans:
        raise NotCtError(f"No CT series; found: {listing}.", "Choose a folder with a CT series.")
    sizes = [sum(header.frames for header in item.slices) for item in scans]
    if len(scans) > 1 and sizes[0] < _CLEARLY_LARGER * sizes[1] and series is None:
        raise SeriesChoiceError(f"Several CT series; found: {listing}.", "Choose one by UID, number or description.")
    if len(found) > 1:
        on_event(Warn(f"Of {len(found)} series the largest CT was chosen: {scans[0].summary}."))
    return scans[0]


def _steps(positions: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Return the mean slice step in mm, or raise for repeated positions, gaps and tilt."""
    depths = positions @ normal
    steps = np.diff(depths)
    typical = float(np.median(steps))
    if (steps < 1e-3).any():
        raise GeometryError(
            f"{int((steps < 1e-3).sum())} slices lie at the position of another; the series mixes several scans.",
            "Export one scan (phase) of the series alone.",
        )
    wide = np.flatnonzero(np.abs(steps - typical) > max(_GAP_TOLERANCE * typical, 0.05))
    if wide.size:
        first = wide[0]
        raise GeometryError(
            f"The slice distance varies: {steps[first]:.2f} mm after depth {depths[first]:.1f} mm, elsewhere "
            f"{typical:.2f} mm; {wide.size} such places. Slices seem to be missing.",
            "Export the series again with all its slices.",
        )
    along = positions[-1] - positions[0]
    tilt = float(np.degrees(np.arccos(min(1.0, float(along @ normal) / float(np.linalg.norm(along))))))
    if tilt > _TILT_DEGREES:
        raise GeometryError(
            f"The scan has a gantry tilt: slices are shifted by {tilt:.1f} degrees; upright stacks were expected.",
            "Correct the tilt first, for example with the acquisition transform of 3D Slicer's DICOM import.",
        )
    return float((depths[-1] - depths[0]) / (len(depths) - 1))


def _stack(slices: tuple[SliceHeader, ...]) -> tuple[list[SliceHeader], NDArray[np.float64]]:
    """Return the slices in order along their normal, and the IJK->RAS affine of the stack."""
    first = slices[0]
    if len(slices) < 2:
        raise GeometryError("The series has a single slice; a 3-D volume was expected.", "Choose a series of slices.")
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(row, column)
    if abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise GeometryError("The slice orientation in the DICOM header is invalid.", "Export the series again.")
    ordered = sorted(slices, key=lambda header: float(np.dot(header.position, normal)))
    positions = np.array([header.position for header in ordered])
    step = _steps(positions, normal)
    affine = np.eye(4)
    # DICOM gives the distance of rows, then of columns
    affine[:3, :3] = np.stack([row * first.spacing[1], column * first.spacing[0], normal * step], axis=1)
    affine[:3, 3] = positions[0]
    affine[:3] *= _RAS[:, None]
    return ordered, affine


def read_series(path: Path, series: str | None, on_event: OnEvent) -> tuple[Raw, str]:
    """Read the chosen series of a folder, or the one that a DICOM file belongs to; return it and its description."""
    if path.is_file():
        header = read_header(path)
        if header is None:
            raise DamagedInputError(f'"{path}" is not a DICOM image.', "Choose a slice of a CT series.")
        series, folder = series or header.uid, path.parent
    else:
        folder = path
    headers, others = _headers(folder)
    if others:
        on_event(
            Warn(f'{len(others)} DICOM files hold no readable image and were left out, such as "{others[0].name}".')
        )
    chosen = choose_series(_group(headers), series, on_event)
    name = chosen.description or chosen.uid
    if len(chosen.slices) == 1 and chosen.slices[0].frames > 1:
        return read_itk(chosen.slices[0].path), name
    ordered, affine = _stack(chosen.slices)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(header.path) for header in ordered])
    try:
        with quiet_itk():
            image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        raise _refused(ordered[0].path, error) from error
    return Raw(to_raw(image, folder).array, affine), name
