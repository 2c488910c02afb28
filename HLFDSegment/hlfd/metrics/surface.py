"""Distances between the surfaces of two masks, in mm.

The surface is the set of voxels with a face neighbour outside the mask, each counted once, and the distance is that
of voxel centres: the definition of MONAI's ``compute_surface_dice`` and ``compute_hausdorff_distance``.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """Return the smallest slices (k, j, i) that hold the mask, or None if it is empty."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if hit.size == 0:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def surface_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that have a face neighbour outside; outside the array is outside the mask."""
    padded = np.pad(mask, 1)
    inner = mask.copy()
    for axis in range(mask.ndim):
        for shift in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(shift, shift + mask.shape[axis])
            inner &= padded[tuple(window)]
    return mask & ~inner


def _distance_to(surface: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    image = sitk.GetImageFromArray(surface.view(np.uint8))
    image.SetSpacing(spacing)
    # linear in the number of voxels and exact (Maurer 2003); surface voxels themselves get 0
    distance = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayViewFromImage(distance))


def surface_distances(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the distance in mm of each surface voxel of ``pred`` to that of ``ref``, and the other way round.

    Masks are (k, j, i), ``spacing`` is in mm along (i, j, k). Both masks must hold a voxel.
    """
    box = bounding_box(pred | ref)
    if box is None:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    # a border of background makes every surface voxel a boundary voxel for the distance map
    edges = [np.pad(surface_of(mask[box]), 1) for mask in (pred, ref)]
    to_pred, to_ref = (_distance_to(edge, spacing) for edge in edges)
    return to_ref[edges[0]], to_pred[edges[1]]


def normalised_surface_dice(distances: tuple[NDArray[np.float32], NDArray[np.float32]], tolerance_mm: float) -> float:
    """Return the share of both surfaces within ``tolerance_mm`` of the other (Nikolov et al., arXiv 1809.04430)."""
    near = sum(int(np.count_nonzero(d <= tolerance_mm + 1e-4)) for d in distances)
    return near / sum(d.size for d in distances)


def hausdorff_95(distances: tuple[NDArray[np.float32], NDArray[np.float32]]) -> float:
    """Return the larger of the two directed 95th percentiles of surface distance in mm."""
    return float(max(np.percentile(d, 95) for d in distances))


def farthest_false_mm(pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Return how far in mm the farthest voxel of ``pred`` lies from ``ref``, 0 where none lies outside of it.

    Masks are (k, j, i), ``spacing`` is in mm along (i, j, k). ``ref`` must hold a voxel.
    """
    false = pred & ~ref
    box = bounding_box(false | ref)
    if box is None or not false.any():
        return 0.0
    # a border of background makes every surface voxel a boundary voxel for the distance map
    edge = np.pad(surface_of(ref[box]), 1)
    return float(_distance_to(edge, spacing)[np.pad(false[box], 1)].max())
