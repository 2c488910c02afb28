"""Stored values to Hounsfield units, and the question whether they are any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import InputError, NotCtError, UnsupportedInputError

HU_AIR = -1024
"""Values below are padding (-2000, -3024, -32768) or noise in air, and are raised to it."""
_HU_TOP = 32767
_SAMPLE = 500_000
_MIN_RANGE = 50.0
_LOW_HU, _LOW_SHARE = -20, 0.001
_HIGH_HU, _HIGH_SHARE = 4000, 0.05


def to_hounsfield(values: NDArray) -> NDArray:
    """Return the rescaled values as int16, or as float32 where they have fractions, at least -1024 HU.

    int16 and float32 stay as they are; other integers, and float64 holding whole numbers, become int16. NaN and
    infinite values are left for ``Volume`` to refuse. Raises ``UnsupportedInputError`` for other types.
    """
    kind = values.dtype.kind
    if kind not in "iuf":
        raise UnsupportedInputError(f"The image values have type {values.dtype}; numbers in HU were expected.")
    if values.dtype == np.int16:
        return np.maximum(values, np.int16(HU_AIR))
    if kind in "iu":
        return np.clip(values, max(HU_AIR, np.iinfo(values.dtype).min), _HU_TOP).astype(np.int16)
    if not np.isfinite(values).all():
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    clipped = np.clip(values, HU_AIR, _HU_TOP)
    whole = values.dtype != np.float32 and bool((np.rint(clipped) == clipped).all())
    return clipped.astype(np.int16 if whole else np.float32)


def _sample(array: NDArray) -> NDArray:
    step = max(1, int(np.ceil((array.size / _SAMPLE) ** (1 / 3))))
    return array[::step, ::step, ::step]


def check_hounsfield(array: NDArray, what: str = "The image") -> None:
    """Raise ``NotCtError`` unless the (k, j, i) values can be HU of a CT of the body.

    The rule, on every n-th voxel: values span at least 50 HU; at least 0.1 % lie below -20 HU, as fat, air or padding
    do in every field of view of a body; and at most 5 % exceed 4000 HU, which only metal does.
    """
    sample = _sample(array)
    low, high = float(sample.min()), float(sample.max())
    if low == high:
        low, high = float(array.min()), float(array.max())
    if low == high:
        raise NotCtError(f"{what} is constant: every voxel is {low:g}.", "Choose another image.")
    found = f"its values go from {low:g} to {high:g}"
    if high - low < _MIN_RANGE:
        raise NotCtError(
            f"{what} does not hold HU: {found}, so it seems to be scaled; air at -1000 and water at 0 were expected.",
            "Use the CT as the scanner wrote it, without normalisation.",
        )
    if np.mean(sample < _LOW_HU) < _LOW_SHARE:
        raise NotCtError(
            f"{what} does not hold HU: {found}, without the fat or air that every CT shows below {_LOW_HU} HU.",
            "Choose a CT; if it is one, export it again with its rescale intercept (often -1024) applied.",
        )
    if np.mean(sample > _HIGH_HU) > _HIGH_SHARE:
        raise NotCtError(
            f"{what} does not hold HU: {found}, and more than {_HIGH_SHARE:.0%} of them exceed {_HIGH_HU} HU.",
            "Choose a CT, and export it with its rescale slope and intercept applied.",
        )


def to_label_values(values: NDArray, what: str = "The label map") -> NDArray[np.uint8]:
    """Return stored values as uint8, or raise ``InputError`` unless all are whole numbers in 0..255."""
    if values.dtype == np.uint8:
        return np.array(values)
    if values.dtype.kind not in "iufb":
        raise UnsupportedInputError(f"{what} has values of type {values.dtype}; whole numbers 0..255 were expected.")
    with np.errstate(invalid="ignore"):
        labels = values.astype(np.uint8)
    if not np.array_equal(labels, values):
        raise InputError(
            f"{what} holds values that are not whole numbers in 0..255.", "Choose a label map, not an image."
        )
    return labels


def count_labels(array: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many voxels have each of the 256 values, slice by slice, since bincount works in 64 bits."""
    return sum((np.bincount(plane.ravel(), minlength=256) for plane in array), np.zeros(256, np.int64))
