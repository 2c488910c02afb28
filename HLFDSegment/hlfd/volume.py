"""The two image types of the engine: a CT ``Volume`` and a ``LabelMap``.

Arrays are ordered (k, j, i), slowest axis first, as NumPy reads NIfTI-free formats and as
``slicer.util.arrayFromVolume`` returns them. The affine maps homogeneous voxel indices (i, j, k, 1) to
RAS millimetres (Slicer's IJK->RAS matrix).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import GeometryError, InputError
from hlfd.labels import Label

MAX_SPACING_MM = 10.0
WARN_SPACING_MM = 5.0
_SHEAR_TOLERANCE = 1e-2  # cosine between two axes; scanners write direction cosines with few digits


def check_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 4x4 IJK->RAS affine as float64, or raise ``GeometryError`` that names the fault."""
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise GeometryError(f"The affine has shape {matrix.shape}; a 4x4 IJK->RAS matrix in mm was expected.")
    if not np.isfinite(matrix).all():
        raise GeometryError("The affine holds NaN or infinite values.", "Export the image again from its source.")
    if not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise GeometryError(f"The last row of the affine is {matrix[3].tolist()}; [0, 0, 0, 1] was expected.")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if (spacing < 1e-3).any():
        raise GeometryError(
            f"The voxel spacing is {np.round(spacing, 4).tolist()} mm; each value must be above 0.",
            "Correct the spacing in the image header.",
        )
    if (spacing > MAX_SPACING_MM).any():
        raise GeometryError(
            f"The voxel spacing is {np.round(spacing, 2).tolist()} mm; at most {MAX_SPACING_MM:g} mm is supported.",
            "Use a reconstruction with thinner slices.",
        )
    directions = matrix[:3, :3] / spacing
    if abs(np.linalg.det(directions)) < 1e-3:
        raise GeometryError("The affine is singular: two axes are parallel.", "Export the image again.")
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _SHEAR_TOLERANCE:
        angle = np.degrees(np.arcsin(min(1.0, cosines.max())))
        raise GeometryError(
            f"The image axes are sheared by {angle:.1f} degrees; orthogonal axes were expected.",
            "Resample the image to an orthogonal grid first (a gantry-tilted CT needs this).",
        )
    return matrix


def _check_array(array: NDArray, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    if array.ndim != 3:
        raise GeometryError(
            f"The image has {array.ndim} dimensions with shape {array.shape}; a 3-D volume was expected.",
            "Choose one volume of the series.",
        )
    if min(array.shape) < 1:
        raise GeometryError(f"The image is empty: its shape is {array.shape}.")
    return check_affine(affine)


@dataclass(frozen=True)
class _Grid:
    array: NDArray
    affine: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (k, j, i)."""
        k, j, i = self.array.shape
        return int(k), int(j), int(i)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing in mm along (i, j, k), the order of the affine's columns."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def same_grid(self, other: _Grid, tolerance_mm: float = 1e-2) -> bool:
        """Return whether both images have one shape and place every voxel within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        k, j, i = self.shape
        corners = np.array([[x, y, z, 1] for x in (0, i - 1) for y in (0, j - 1) for z in (0, k - 1)], dtype=float).T
        return bool(np.abs((self.affine - other.affine) @ corners).max() <= tolerance_mm)


@dataclass(frozen=True)
class Volume(_Grid):
    """A CT volume: ``array`` (k, j, i) in HU as int16 or float32, ``affine`` 4x4 IJK->RAS in mm.

    Raises ``GeometryError`` for a wrong shape or affine and ``InputError`` for other types or NaN.
    Left-handed and oblique affines are valid. The array is kept, not copied.
    """

    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", _check_array(self.array, self.affine))
        if self.array.dtype not in (np.dtype(np.int16), np.dtype(np.float32)):
            raise InputError(f"The image values have type {self.array.dtype}; int16 or float32 HU were expected.")
        if self.array.dtype == np.float32 and not np.isfinite(self.array).all():
            bad = int(np.size(self.array) - np.count_nonzero(np.isfinite(self.array)))
            raise InputError(
                f"The image holds {bad} NaN or infinite values; finite HU were expected.",
                "Replace them, for example by -1024 for air, and export the image again.",
            )


@dataclass(frozen=True)
class LabelMap(_Grid):
    """A label map: ``array`` (k, j, i) uint8, ``affine`` 4x4 IJK->RAS in mm, ``labels`` the table of its values.

    Value 0 is background and not in the table. Raises ``GeometryError`` or ``InputError`` like ``Volume``.
    """

    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", _check_array(self.array, self.affine))
        if self.array.dtype != np.uint8:
            raise InputError(f"The label values have type {self.array.dtype}; uint8 was expected.")
        values = [label.value for label in self.labels]
        if len(set(values)) != len(values):
            raise InputError(f"The label table names a value twice: {values}.", "Give every label its own value.")

    def mask(self, *names: str) -> NDArray[np.bool_]:
        """Return where the label is one of ``names``, as a boolean (k, j, i) array."""
        known = {label.name: label.value for label in self.labels}
        missing = [name for name in names if name not in known]
        if missing:
            raise InputError(f"The label map has no label named {missing}; it has {sorted(known)}.")
        return np.isin(self.array, [known[name] for name in names])
