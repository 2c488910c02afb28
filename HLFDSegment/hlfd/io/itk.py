"""SimpleITK images to and from arrays and RAS affines, with ITK's failures turned into errors that users can act on."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hlfd.errors import DamagedInputError, GeometryError, InputError, UnsupportedInputError
from hlfd.io.raw import Raw

_UNSUPPORTED = (
    "not supported",
    "unsupported",
    "transfer syntax",
    "encoding not available",
    "bzip2",
    "couldn't parse encoding",
)
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_log = logging.getLogger(__name__)
_stderr_lock = threading.Lock()


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Send what ITK and its format libraries print on file descriptor 2 to the debug log."""
    with _stderr_lock, tempfile.TemporaryFile() as capture:
        sitk.ProcessObject_SetGlobalWarningDisplay(False)
        kept = os.dup(2)
        os.dup2(capture.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            capture.seek(0)
            if text := capture.read(20_000).decode("utf-8", "replace").strip():
                _log.debug("ITK: %s", text)


def translate(error: Exception, path: Path) -> InputError:
    """Return the ``InputError`` for what ITK says about a file that it cannot read."""
    text = " ".join(str(error).split())
    low = text.lower()
    _log.debug("ITK refused %s: %s", path, text)
    if any(word in low for word in ("direction", "determinant", "orthonormal", "space vector", "space directions")):
        return GeometryError(
            f'"{path}" has a singular or invalid orientation in its header.', "Correct the header or export it again."
        )
    if "spacing" in low:
        return GeometryError(
            f'"{path}" has a zero or invalid voxel spacing in its header; values above 0 mm were expected.',
            "Correct the header or export it again.",
        )
    if any(word in low for word in _UNSUPPORTED):
        return UnsupportedInputError(
            f'"{path}" uses a compression or encoding that cannot be read.',
            "Save it again uncompressed or with gzip compression.",
        )
    return DamagedInputError(f'"{path}" is truncated, damaged or not an image.', "Copy or export the image again.")


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """Return the IJK->RAS affine in mm of an image of at least three dimensions; further dimensions are ignored."""
    count = image.GetDimension()
    directions = np.reshape(image.GetDirection(), (count, count))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return _LPS_TO_RAS @ affine


def to_raw(image: sitk.Image, path: Path) -> Raw:
    """Return values, affine and text fields of an image; a vector image keeps its components as last axis."""
    if image.GetDimension() < 3:
        raise GeometryError(
            f'"{path}" is a {image.GetDimension()}-D image of size {image.GetSize()}; a 3-D volume was expected.',
            "Choose the whole series, not one slice.",
        )
    array = sitk.GetArrayFromImage(image)
    while array.ndim > 3 and image.GetNumberOfComponentsPerPixel() == 1 and array.shape[0] == 1:
        array = array[0]
    # damaged headers may hold keys and values that are not UTF-8
    keys = [key for key in image.GetMetaDataKeys() if key.isascii()]
    fields = {key: image.GetMetaData(key).encode("utf-8", "surrogateescape").decode("utf-8", "replace") for key in keys}
    return Raw(array, affine_of(image), fields)


def read_itk(path: Path) -> Raw:
    """Read an NRRD, MetaImage or multi-frame DICOM file; raise the ``InputError`` that says what is wrong."""
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except (RuntimeError, MemoryError) as error:
        raise translate(error, path) from error
    return to_raw(image, path)


def write_itk(array: NDArray, affine: NDArray[np.float64], path: Path, fields: dict[str, str] | None = None) -> None:
    """Write (k, j, i) values in the format of the suffix, compressed; raises ``RuntimeError`` as ITK does."""
    lps = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    for key, value in (fields or {}).items():
        image.SetMetaData(key, value)
    with quiet_itk():
        sitk.WriteImage(image, str(path), True, 3)
