"""Frames: the patient's axes in mm, in which body box, regions and working grids are laid out.

An aligned volume is its own frame: mm along its canonical axes from its first voxel, so that a flipped or permuted
file gives the same numbers. An oblique volume uses RAS, and is resampled to grids along the patient's axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hlfd.preprocess.grid import Box, Grid, Triple, grid_over, triple
from hlfd.preprocess.intensity import CLIP_HU
from hlfd.preprocess.orientation import Canonical
from hlfd.preprocess.resample import make_axis, resample, to_clipped_int16

if TYPE_CHECKING:
    import SimpleITK as sitk

AIR_HU = -1024


class Frame(Protocol):
    """The patient's axes of one volume; positions are (z, y, x) in mm."""

    @property
    def box(self) -> Box:
        """The extent of the volume."""

    def coarse(self, step: float) -> tuple[NDArray[Any], Grid]:
        """Return HU on a grid of about ``step`` mm without anti-aliasing, for finding the body."""

    def sample(self, grid: Grid) -> NDArray[np.float32]:
        """Return HU on ``grid``, anti-aliased, as float32 (z, y, x)."""

    def to_ras(self, point: Triple) -> Triple:
        """Return the RAS position (x, y, z) in mm of a frame position."""

    def position(self, index: Triple) -> Triple:
        """Return the frame position of a canonical voxel index (z, y, x)."""

    def positions(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the frame positions (n, 3) of canonical voxel indices (n, 3)."""


@dataclass(frozen=True)
class AlignedFrame:
    """The frame of a volume whose axes are the patient's."""

    volume: Canonical
    threads: int = 1

    @property
    def box(self) -> Box:
        """The extent of the volume."""
        z, y, x = self.volume.array.shape
        return Grid((0.0, 0.0, 0.0), self.volume.spacing, (z, y, x)).box()

    def coarse(self, step: float) -> tuple[NDArray[Any], Grid]:
        """Return a strided view of the volume; nothing is averaged."""
        strides = [max(1, int(step / spacing)) for spacing in self.volume.spacing]
        z, y, x = (slice(min(s // 2, (n - 1) // 2), None, s) for s, n in zip(strides, self.volume.array.shape))
        values = self.volume.array[z, y, x]
        start = triple(a.start * s for a, s in zip((z, y, x), self.volume.spacing))
        spacing = triple(n * s for n, s in zip(strides, self.volume.spacing))
        return values, Grid(start, spacing, values.shape)

    def sample(self, grid: Grid) -> NDArray[np.float32]:
        """Return HU on ``grid`` by block means and linear interpolation; air outside the volume, as in training."""
        z, y, x = (
            make_axis(size, step, start, count, out_step)
            for size, step, start, count, out_step in zip(
                self.volume.array.shape, self.volume.spacing, grid.start, grid.shape, grid.spacing
            )
        )
        hu = resample(self.volume.array, (z, y, x), self.threads)
        for axis, (low, high) in enumerate(zip(self.box.low, self.box.high)):
            place = grid.start[axis] + grid.spacing[axis] * np.arange(grid.shape[axis])
            hu[(slice(None),) * axis + ((place < low) | (place > high),)] = AIR_HU
        return hu

    def to_ras(self, point: Triple) -> Triple:
        """Return the RAS position (x, y, z) of a frame position."""
        index = [p / s for p, s in zip(point[::-1], self.volume.spacing[::-1])]
        return triple((self.volume.affine @ [*index, 1.0])[:3])

    def position(self, index: Triple) -> Triple:
        """Return the frame position of a canonical voxel index (z, y, x)."""
        return triple(i * s for i, s in zip(index, self.volume.spacing))

    def positions(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the frame positions (n, 3) of canonical voxel indices (n, 3)."""
        return np.asarray(index * np.array(self.volume.spacing))


@dataclass(frozen=True)
class ObliqueFrame:
    """The frame of an oblique volume: RAS itself, in the order (z, y, x)."""

    volume: Canonical

    def world(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return frame positions (n, 3) of canonical voxel indices (n, 3), both (z, y, x)."""
        affine = self.volume.affine
        return (index[:, ::-1] @ affine[:3, :3].T + affine[:3, 3])[:, ::-1]

    def index(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return canonical voxel indices (n, 3) of frame positions (n, 3), both (z, y, x)."""
        affine = self.volume.affine
        return ((points[:, ::-1] - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T)[:, ::-1]

    @property
    def box(self) -> Box:
        """The box along the patient's axes around the volume."""
        corners = self.world(corner_points((-0.5,) * 3, [n - 0.5 for n in self.volume.array.shape]))
        return Box(triple(np.round(corners.min(0), 3)), triple(np.round(corners.max(0), 3)))

    def coarse(self, step: float) -> tuple[NDArray[Any], Grid]:
        """Return the volume on a grid of ``step`` mm along the patient's axes."""
        grid = grid_over(self.box, step)
        return self.sample(grid), grid

    def sample(self, grid: Grid) -> NDArray[np.float32]:
        """Return HU on ``grid`` by block means and trilinear interpolation; air outside the volume."""
        import SimpleITK as sitk

        low, high = index_range(self.index(grid_corners(grid)), self.volume.array.shape, 2)
        if any(a >= b for a, b in zip(low, high)):
            return np.full(grid.shape, AIR_HU, np.float32)
        image = sitk_image(to_clipped_int16(self.volume.array[box_slices(low, high)]), self.volume.affine, low)
        factors = [
            max(1, min(int(out / step + 1e-3), n))
            for out, step, n in zip(grid.spacing[::-1], self.volume.spacing[::-1], image.GetSize())
        ]
        if max(factors) > 1:
            image = sitk.BinShrink(image, factors)  # means rounded to whole HU: a float copy would double the memory
        result = sitk.Resample(image, *_sitk_grid(grid), AIR_HU, sitk.sitkFloat32)
        return np.clip(sitk.GetArrayFromImage(result), *CLIP_HU)

    def to_ras(self, point: Triple) -> Triple:
        """Return the RAS position (x, y, z) of a frame position."""
        return point[::-1]

    def position(self, index: Triple) -> Triple:
        """Return the frame position of a canonical voxel index (z, y, x)."""
        return triple(self.world(np.array([index]))[0])

    def positions(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the frame positions (n, 3) of canonical voxel indices (n, 3)."""
        return self.world(index.astype(np.float64))


def make_frame(volume: Canonical, threads: int = 1) -> AlignedFrame | ObliqueFrame:
    """Return the frame that fits the volume."""
    return AlignedFrame(volume, threads) if volume.aligned else ObliqueFrame(volume)


def corner_points(low: Any, high: Any) -> NDArray[np.float64]:
    """Return the eight corners (8, 3) of a box."""
    return np.array([[(low, high)[c >> a & 1][a] for a in range(3)] for c in range(8)], np.float64)


def grid_corners(grid: Grid) -> NDArray[np.float64]:
    """Return the eight corners of a grid, outer edges of its voxels, in mm."""
    box = grid.box()
    return corner_points(box.low, box.high)


def index_range(points: NDArray[np.float64], shape: Any, margin: int) -> tuple[list[int], list[int]]:
    """Return the index box (low, high exclusive) around ``points`` plus ``margin`` voxels, inside ``shape``."""
    low = [max(0, int(np.floor(v)) - margin) for v in points.min(0)]
    high = [min(n, int(np.ceil(v)) + 1 + margin) for v, n in zip(points.max(0), shape)]
    return low, high


def box_slices(low: Any, high: Any) -> tuple[slice, slice, slice]:
    """Return the slices of an index box."""
    z, y, x = (slice(a, b) for a, b in zip(low, high))
    return z, y, x


def _sitk_grid(grid: Grid) -> tuple[Any, ...]:
    import SimpleITK as sitk

    origin, spacing = [float(v) for v in grid.start[::-1]], [float(v) for v in grid.spacing[::-1]]
    return (
        [int(n) for n in grid.shape[::-1]],
        sitk.Transform(),
        sitk.sitkLinear,
        origin,
        spacing,
        np.eye(3).ravel().tolist(),
    )


def sitk_image(array: NDArray, affine: NDArray[np.float64], low: Any = (0, 0, 0)) -> sitk.Image:
    """Return ``array``, the part of a canonical grid from index ``low`` on, as an image in RAS."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((affine[:3, :3] @ np.array(low[::-1], float) + affine[:3, 3]).tolist())
    return image
