"""Bring two label maps of one image to one grid without interpolation: axes permuted or flipped, or borders cut off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import GeometryError
from hlfd.volume import LabelMap

_TOLERANCE = 0.05  # voxels; what float32 headers lose over 512 voxels is far below


def _place(moving: LabelMap, fixed: LabelMap) -> NDArray[np.uint8] | None:
    """Return the values of ``moving`` on the grid of ``fixed``, or None where its voxels do not lie on them."""
    exact = np.linalg.inv(fixed.affine) @ moving.affine
    whole = np.rint(exact)
    reach = np.array([*moving.shape[::-1], 1.0])
    if (np.abs(exact - whole) * reach).max() > _TOLERANCE or not (np.abs(whole[:3, :3]).sum(axis=0) == 1).all():
        return None
    if not (np.abs(whole[:3, :3]).sum(axis=1) == 1).all():
        return None
    # in (i, j, k) order: output axis r runs along input axis source[r]
    source = np.abs(whole[:3, :3]).argmax(axis=1)
    signs = whole[np.arange(3), source]
    array = moving.array.transpose(2, 1, 0).transpose(source)
    low = np.where(signs > 0, whole[:3, 3], whole[:3, 3] - (np.array(array.shape) - 1)).astype(int)
    array = array[tuple(slice(None, None, int(sign)) for sign in signs)]
    high = low + array.shape
    if (low < 0).any() or (high > np.array(fixed.shape[::-1])).any():
        return None
    out = np.zeros(fixed.shape, np.uint8)
    i, j, k = (slice(a, b) for a, b in zip(low, high))
    out[k, j, i] = array.transpose(2, 1, 0)
    return out


def align(pred: LabelMap, ref: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Return both label maps on one grid, the larger of the two; what a cropped map lacks is background.

    Raises ``GeometryError`` unless the voxels of one map lie on voxels of the other, up to the order and direction of
    the axes: nothing is resampled.
    """
    if pred.same_grid(ref):
        return pred, ref
    placed = _place(pred, ref)
    if placed is not None:
        return LabelMap(placed, ref.affine, pred.labels), ref
    placed = _place(ref, pred)
    if placed is not None:
        return pred, LabelMap(placed, pred.affine, ref.labels)
    raise GeometryError(
        f"The two label maps do not share a grid: shapes {pred.shape} and {ref.shape} (k, j, i), spacings "
        f"{np.round(pred.spacing, 3).tolist()} and {np.round(ref.spacing, 3).tolist()} mm.",
        "Resample one to the other with nearest neighbour first, or choose label maps of one image.",
    )
