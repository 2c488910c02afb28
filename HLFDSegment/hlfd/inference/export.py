"""From logits on a working grid to labels on the volume's grid, without full-resolution logits.

Slab by slab, each class is interpolated and compared with the best so far. Only the box around what is not background
in the slab is visited: interpolation is a weighted mean, so where the background leads at all eight neighbours
it leads between them too. The labels equal those of interpolating all logits and taking the argmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame, box_slices, grid_corners, index_range, sitk_image
from hlfd.preprocess.grid import Grid
from hlfd.preprocess.resample import Axis, lerp
from hlfd.threads import run_threaded

_SLAB = 16
IndexBox = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Values:
    """Label value per class on the left and on the right of the plane at ``plane`` mm of the frame's x axis."""

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    plane: float


def crop_to_foreground(logits: NDArray[np.float32], grid: Grid, labels: NDArray[np.uint8]) -> tuple[NDArray, Grid]:
    """Return logits and grid of the box around the non-zero ``labels`` with one voxel more on every side."""
    low, high = index_box(labels)
    low = tuple(max(0, a - 1) for a in low)
    high = tuple(min(n, b + 1) for b, n in zip(high, labels.shape))
    return logits[(slice(None), *box_slices(low, high))], grid.crop(low, high)


def export_labels(
    logits: NDArray[np.float32], grid: Grid, frame: AlignedFrame | ObliqueFrame, values: Values, out: NDArray[np.uint8]
) -> IndexBox:
    """Write the label values of ``logits`` (classes, z, y, x) on ``grid`` into the canonical array ``out``.

    Background is not written, so regions that overlap do not erase each other. Axis-aligned volumes repeat the
    outermost logits for up to half a working voxel. Returns the index box (low, high) that was visited.
    """
    if isinstance(frame, AlignedFrame):
        return _export_aligned(logits, grid, frame, values, out)
    return _export_oblique(logits, grid, frame, values, out)


def _output_axis(count: int, start: float, step: float, size: int, spacing: float) -> tuple[int, Axis]:
    """Return the first voxel inside the working axis (``count`` voxels) and the interpolation for all voxels inside."""
    low, high = start - step / 2, start + step * (count - 0.5)
    first = max(0, int(np.ceil(low / spacing - 1e-6)))
    last = min(size - 1, int(np.floor(high / spacing + 1e-6)))
    position = np.round((spacing * np.arange(first, last + 1) - start) / step, 6)
    place = np.clip(position, 0, count - 1)
    lower = np.floor(place).astype(np.intp)
    upper = np.minimum(lower + 1, count - 1)
    return first, Axis(0, 1, count, lower, upper, (place - lower).astype(np.float32))


def _export_aligned(
    logits: NDArray[np.float32], grid: Grid, frame: AlignedFrame, values: Values, out: NDArray[np.uint8]
) -> IndexBox:
    plans = [
        _output_axis(*numbers) for numbers in zip(grid.shape, grid.start, grid.spacing, out.shape, frame.volume.spacing)
    ]
    (z0, z), (y0, y), (x0, x) = plans
    low, sizes = [z0, y0, x0], [len(plan.lower) for plan in (z, y, x)]
    high = [a + n for a, n in zip(low, sizes)]
    if min(sizes) == 0:
        return low, low
    split = int(np.clip(np.ceil(values.plane / frame.volume.spacing[2] - 1e-6) - x0, 0, len(x.lower)))
    target = out[box_slices(low, high)]

    def work(begin: int) -> None:
        end = min(begin + _SLAB, len(z.lower))
        part = slice(int(z.lower[begin]), int(z.upper[end - 1]) + 1)
        # Again only what the slab's own foreground needs: an organ fills but a part of the box around it.
        foreground: NDArray[np.bool_] = np.asarray((logits[1:, part] > logits[0, part]).any(axis=(0, 1)))
        first, last = index_box(foreground)
        if first == last:
            return
        (y1, y2, rows), (x1, x2, columns) = (
            _within(plan, max(0, a - 1), min(n, b + 1)) for plan, a, b, n in zip((y, x), first, last, grid.shape[1:])
        )
        planes = lerp(lerp(logits[:, part], 3, columns), 2, rows)
        below, above = (index[begin:end] - part.start for index in (z.lower, z.upper))
        labels = _argmax_between(planes, below, above, z.weight[begin:end])
        _write(labels, values, max(0, split - x1), target[begin:end, y1:y2, x1:x2])

    run_threaded(work, list(range(0, len(z.lower), _SLAB)), frame.threads)
    return low, high


def _within(plan: Axis, low: int, high: int) -> tuple[int, int, Axis]:
    """Return the outputs (first, end) that lie between working voxels ``low`` <= n < ``high``, and their plan."""
    first = int(np.searchsorted(plan.lower, low))
    end = max(first, int(np.searchsorted(plan.upper, high)))
    inside = slice(first, end)
    return first, end, Axis(0, 1, plan.blocks, plan.lower[inside], plan.upper[inside], plan.weight[inside])


def _argmax_between(
    planes: NDArray[np.float32], below: NDArray[np.intp], above: NDArray[np.intp], weight: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the argmax over classes between ``planes`` (classes, z, y, x) below and above, by a running maximum."""
    weight = weight[:, None, None]
    keep = np.float32(1) - weight
    best = planes[0][below] * keep + planes[0][above] * weight
    labels = np.zeros(best.shape, np.uint8)
    for index in range(1, len(planes)):
        value = planes[index][below] * keep + planes[index][above] * weight
        np.putmask(labels, value > best, np.uint8(index))
        np.maximum(best, value, out=best)
    return labels


def _write(labels: NDArray[np.uint8], values: Values, split: int, target: NDArray[np.uint8]) -> None:
    """Write label values of one plane or slab where they are not background; columns before ``split`` are left."""
    new = np.concatenate([values.left[labels[..., :split]], values.right[labels[..., split:]]], axis=-1)
    np.copyto(target, new, where=new > 0)


def _export_oblique(
    logits: NDArray[np.float32], grid: Grid, frame: ObliqueFrame, values: Values, out: NDArray[np.uint8]
) -> IndexBox:

    affine = np.diag([*grid.spacing[::-1], 1.0])
    affine[:3, 3] = grid.start[::-1]
    images = [sitk_image(channel, affine) for channel in logits]
    low, high = index_range(frame.index(grid_corners(grid)), out.shape, 0)
    for k in range(low[0], high[0], _SLAB):
        first, last = [k, low[1], low[2]], [min(k + _SLAB, high[0]), high[1], high[2]]
        if any(a >= b for a, b in zip(first, last)):
            continue
        slab = out[box_slices(first, last)]
        reference = sitk_image(np.empty(slab.shape, np.uint8), frame.volume.affine, first)
        labels = _running_argmax(images, reference)
        right = _world_x(frame, first, slab.shape) >= values.plane
        new = np.where(right, values.right[labels], values.left[labels])
        np.copyto(slab, new, where=new > 0)
    return low, high


def _running_argmax(images: list, reference: object) -> NDArray[np.uint8]:
    """Return the argmax over the class images, resampled one after the other to ``reference``; 0 outside of them."""
    import SimpleITK as sitk

    outside = -1e9
    best, labels = None, None
    for index, image in enumerate(images):
        resampled = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside, sitk.sitkFloat32)
        value = sitk.GetArrayFromImage(resampled)
        if best is None or labels is None:
            best, labels = value, np.zeros(value.shape, np.uint8)
            continue
        np.putmask(labels, value > best, np.uint8(index))
        np.maximum(best, value, out=best)
    if labels is None:
        raise ValueError("no classes")
    return labels


def _world_x(frame: ObliqueFrame, low: list[int], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the frame's x position in mm of every voxel of a slab that starts at index ``low``."""
    row = frame.volume.affine[0]
    z, y, x = (np.arange(a, a + n, dtype=np.float64) for a, n in zip(low, shape))
    return row[3] + z[:, None, None] * row[2] + y[:, None] * row[1] + x * row[0]
