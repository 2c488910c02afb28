"""Labels onto the grid of an image, refused where they cannot have been drawn on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import EmptyInputError, GeometryError
from hlfd.metrics.align import align
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices, sitk_image
from hlfd.volume import LabelMap, Volume

SAME_MM = 0.1
"""What headers of one scan differ by when different programs write them."""
_SAMPLE = 50_000
_OUTSIDE_SHARE = 0.01


def cropped(labels: LabelMap) -> LabelMap:
    """Return the label map cut to its labels, at the same place; raise ``EmptyInputError`` where it holds none."""
    low, high = index_box(labels.array)
    if low == high:
        raise EmptyInputError(
            "The label map is empty: it holds background only.", "Draw the structures first, or choose another one."
        )
    affine = labels.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(low[::-1], float)
    return LabelMap(np.ascontiguousarray(labels.array[box_slices(low, high)]), affine, labels.labels)


def onto_grid(labels: LabelMap, volume: Volume, drawn_on_image: bool = False) -> NDArray[np.uint8]:
    """Return the labels (k, j, i) on the grid of ``volume``.

    Voxels that lie on those of the image are taken as they are, whatever part of it they cover and whatever the order
    of their axes. Labels on another grid are resampled to the nearest voxel, but only where ``drawn_on_image`` says
    that they belong to this image, or where their grid covers the same box. Raises ``EmptyInputError`` without labels
    and ``GeometryError`` for labels outside of the image or on the grid of another one.
    """
    if labels.same_grid(volume, SAME_MM) and labels.array.any():
        return labels.array
    part = cropped(labels)
    blank = LabelMap(np.broadcast_to(np.uint8(0), volume.shape), volume.affine)
    try:
        placed, grid = align(part, blank)
        if grid is blank:
            return placed.array
    except GeometryError:
        pass  # not voxel on voxel
    trusted = drawn_on_image or _same_box(labels, volume)
    outside = _outside_share(part, volume)
    if outside > _OUTSIDE_SHARE:
        raise GeometryError(
            f"{outside:.0%} of the labels lie outside of the image.",
            "Choose the image that they were drawn on; a transform on one of the two may be missing on the other.",
        )
    if not trusted:
        raise GeometryError(
            f"The labels lie on another grid than the image: {_grid_text(labels)} against {_grid_text(volume)}.",
            "Choose the image that they were drawn on, or resample them onto this one first.",
        )
    return _nearest(part, volume)


def _grid_text(image: Volume | LabelMap) -> str:
    i, j, k = image.shape[::-1]
    return f"{i} x {j} x {k} voxels of {' x '.join(f'{mm:.4g}' for mm in image.spacing)} mm"


def _corners(image: Volume | LabelMap) -> NDArray[np.float64]:
    """Return the outer corners (8, 3) of a grid in RAS mm."""
    k, j, i = image.shape
    ends = [(-0.5, n - 0.5) for n in (i, j, k)]
    index = np.array([[x, y, z, 1.0] for x in ends[0] for y in ends[1] for z in ends[2]])
    return (index @ image.affine.T)[:, :3]


def _same_box(labels: LabelMap, volume: Volume) -> bool:
    """Return whether both grids cover one box, whatever the size of their voxels."""
    own, other = _corners(labels), _corners(volume)
    distance = np.linalg.norm(own[:, None] - other[None], axis=2)
    return bool(distance.min(axis=1).max() <= SAME_MM and distance.min(axis=0).max() <= SAME_MM)


def _outside_share(part: LabelMap, volume: Volume) -> float:
    """Return which share of the labelled voxels has its centre outside of the image, on a sample of them."""
    places = np.flatnonzero(part.array)
    places = places[:: max(1, len(places) // _SAMPLE)]
    k, j, i = np.unravel_index(places, part.shape)
    points = np.stack([i, j, k, np.ones(len(places))])
    index = (np.linalg.inv(volume.affine) @ part.affine @ points)[:3]
    high = np.array(volume.shape[::-1])[:, None] - 0.5 + 1e-3
    return float(1.0 - np.mean(((index >= -0.5 - 1e-3) & (index <= high)).all(axis=0)))


def _nearest(part: LabelMap, volume: Volume) -> NDArray[np.uint8]:
    import SimpleITK as sitk

    moving = sitk_image(part.array, part.affine)
    grid = sitk_image(np.empty((1, 1, 1), np.uint8), volume.affine)
    placed = sitk.Resample(
        *(moving, [int(n) for n in volume.shape[::-1]], sitk.Transform(), sitk.sitkNearestNeighbor),
        *(grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection(), 0, sitk.sitkUInt8),
    )
    array: NDArray[np.uint8] = sitk.GetArrayFromImage(placed)
    return array
