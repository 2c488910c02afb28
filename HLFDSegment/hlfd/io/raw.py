"""What a file holds before it is judged: stored values, affine and text fields; and which format a path names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import EmptyInputError, InputError, MissingInputError, UnsupportedInputError

SUFFIXES = (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class Raw:
    """Stored values (k, j, i) or with other dimensions as the file has them, IJK->RAS affine in mm, text fields."""

    array: NDArray
    affine: NDArray[np.float64]
    fields: dict[str, str] = field(default_factory=dict)


def suffix_of(path: Path) -> str:
    """Return which of ``SUFFIXES`` the name ends with, or raise ``UnsupportedInputError`` that lists them."""
    name = path.name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise UnsupportedInputError(
        f'"{path.name}" has no known image suffix; one of {", ".join(SUFFIXES)} or a DICOM folder was expected.',
        "Convert the image, for example with 3D Slicer.",
    )


def stem_of(path: Path) -> str:
    """Return the file name without its image suffix."""
    return path.name[: -len(suffix_of(path))]


def read_start(path: Path, size: int = 132) -> bytes:
    """Return the first bytes of a file, or raise the ``InputError`` that says why it cannot be opened."""
    try:
        with path.open("rb") as stream:
            start = stream.read(size)
    except FileNotFoundError as error:
        raise MissingInputError(f'"{path}" does not exist.', "Check the path.") from error
    except OSError as error:
        raise InputError(
            f'"{path}" cannot be read: {error.strerror}.', "Check the permissions of the file and its folder."
        ) from error
    if not start:
        raise EmptyInputError(f'"{path}" is an empty file.', "Copy or export the image again.")
    return start


def is_dicom(path: Path) -> bool:
    """Return whether the file carries the DICOM prefix."""
    return read_start(path)[128:132] == b"DICM"
