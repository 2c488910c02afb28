"""Write volumes and label maps so that a result is either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import DiskFullError, OutputError
from hlfd.io.itk import write_itk
from hlfd.io.nifti import write_nifti
from hlfd.io.raw import suffix_of
from hlfd.io.seg_nrrd import segment_fields
from hlfd.volume import LabelMap, Volume

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHORT_WRITES = ("file too large", "no space left", "only wrote", "wrote only")


def _failure(error: Exception, path: Path, size: int) -> OutputError:
    code = getattr(error, "errno", None)
    folder = path.parent
    # ITK does not pass on the system's error number: go by its words and the space that is left
    short = any(words in str(error).lower() for words in _SHORT_WRITES)
    full = code in _FULL or short or (code is None and folder.is_dir() and shutil.disk_usage(folder).free < size)
    if full:
        return DiskFullError(f'No space is left to write "{path}".', "Free some space or choose another folder.")
    reason = os.strerror(code) if code else "the image library refused it"
    return OutputError(f'"{path}" cannot be written: {reason}.', "Choose a folder that exists and may be written to.")


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _write(array: NDArray, affine: NDArray[np.float64], path: Path, fields: dict[str, str] | None = None) -> None:
    suffix = suffix_of(path)
    temporary: Path | None = None
    try:
        # a folder of its own keeps the final names, which .nhdr and .mhd headers repeat for their data files
        temporary = Path(tempfile.mkdtemp(prefix=".hlfd-", dir=path.parent))
        target = temporary / path.name
        if suffix.startswith(".nii"):
            write_nifti(array, affine, target)
        else:
            write_itk(array, affine, target, fields)
        parts = sorted(temporary.iterdir(), key=lambda part: part.name == path.name)
        for part in parts:
            _sync(part)
        for part in parts:  # the header last
            part.replace(path.parent / part.name)
    except (OSError, RuntimeError) as error:
        raise _failure(error, path, array.nbytes) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_volume(volume: Volume, path: Path | str) -> None:
    """Write a volume as .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd, by the suffix of ``path``.

    An existing file is replaced only when the new one is complete. Raises ``UnsupportedInputError`` for other suffixes,
    ``DiskFullError`` or ``OutputError``.
    """
    _write(volume.array, volume.affine, Path(path))


def write_label_map(label_map: LabelMap, path: Path | str) -> None:
    """Write a label map like ``write_volume``; .seg.nrrd keeps names, colours and terminology for 3D Slicer."""
    path = Path(path)
    fields = segment_fields(label_map) if suffix_of(path) == ".seg.nrrd" else None
    _write(label_map.array, label_map.affine, path, fields)
