"""Read CT volumes and label maps from files and DICOM folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import GeometryError, MissingInputError, UnsupportedInputError
from hlfd.events import OnEvent, Warn, ignore
from hlfd.io.checksum import verify_checksum
from hlfd.io.dicom import read_series
from hlfd.io.hounsfield import check_hounsfield, count_labels, to_hounsfield, to_label_values
from hlfd.io.itk import read_itk
from hlfd.io.nifti import read_nifti
from hlfd.io.raw import Raw, is_dicom, read_start, stem_of, suffix_of
from hlfd.io.seg_nrrd import read_segments
from hlfd.labels import Label
from hlfd.volume import WARN_SPACING_MM, LabelMap, Volume, check_affine

# for values in label maps without a table: distinct, in the order of the values
_PALETTE = ((185, 102, 83), (230, 60, 60), (205, 205, 100), (80, 140, 200), (110, 180, 90), (170, 110, 190))


def read_raw(path: Path) -> Raw:
    """Read an image file of any known format without judging its values."""
    suffix = suffix_of(path)
    read_start(path)
    if suffix.startswith(".nii"):
        return read_nifti(path)
    verify_checksum(path)
    return read_itk(path)


def _check_three_axes(array: NDArray, path: Path) -> None:
    if array.ndim > 3 and array.shape[-1] <= 4 and array.dtype == np.uint8:
        raise UnsupportedInputError(
            f'"{path}" is a colour image of shape {array.shape}; a greyscale CT was expected.', "Choose the CT itself."
        )
    if array.ndim != 3:
        raise GeometryError(
            f'"{path}" has {array.ndim} dimensions of shape {array.shape}; a 3-D volume was expected.',
            "Choose one volume of the series.",
        )


def read_volume(path: Path | str, series: str | None = None, on_event: OnEvent = ignore) -> Volume:
    """Read a CT from a .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd file, a DICOM folder, or one file of a DICOM series.

    Returns HU at least -1024, int16 where the stored values are whole numbers, else float32, with the IJK->RAS affine
    in mm. ``series`` chooses a DICOM series by UID, number or description. Emits ``Warn`` for slices from 5 mm and for
    a choice among several series. Raises an ``InputError``: ``MissingInputError``, ``EmptyInputError``,
    ``DamagedInputError``, ``UnsupportedInputError``, ``SeriesChoiceError``, ``GeometryError`` or ``NotCtError``.
    """
    path = Path(path)
    if not path.exists():
        raise MissingInputError(f'"{path}" does not exist.', "Check the path.")
    if path.is_dir() or is_dicom(path):
        raw, name = read_series(path, series, on_event)
    else:
        raw, name = read_raw(path), stem_of(path)
    _check_three_axes(raw.array, path)
    affine = check_affine(raw.affine)
    volume = Volume(to_hounsfield(raw.array), affine, name)
    check_hounsfield(volume.array, f'"{path}"')
    if max(volume.spacing) >= WARN_SPACING_MM:
        on_event(Warn(f"The slices are {max(volume.spacing):.1f} mm apart; small lesions may be missed above 5 mm."))
    return volume


def _generic_table(array: NDArray[np.uint8]) -> tuple[Label, ...]:
    present = np.flatnonzero(count_labels(array)[1:]) + 1
    return tuple(Label(int(v), f"label {v}", _PALETTE[n % len(_PALETTE)]) for n, v in enumerate(present))


def read_label_map(path: Path | str, labels: tuple[Label, ...] | None = None) -> LabelMap:
    """Read a label map from an image file; a .seg.nrrd file brings its own names, colours and terminology.

    ``labels`` gives the table instead; without either, every value present becomes "label N". Raises an ``InputError``
    like ``read_volume``, also when values are not whole numbers in 0..255.
    """
    path = Path(path)
    if not path.exists():
        raise MissingInputError(f'"{path}" does not exist.', "Check the path.")
    raw = read_raw(path)
    array, table = read_segments(raw)
    _check_three_axes(array, path)
    values = to_label_values(array, f'"{path}"')
    return LabelMap(values, check_affine(raw.affine), labels or table or _generic_table(values))
