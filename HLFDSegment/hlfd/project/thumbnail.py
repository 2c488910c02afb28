"""The small picture of a case: the axial slice that shows most of its largest lesion, with outlines of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.roles import is_lesion
from hlfd.labels import Label
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
from hlfd.preprocess.orientation import find_orientation
from hlfd.volume import Volume

SIZE = 128
WINDOW_HU = (-160.0, 240.0)
_AIR_HU = -300
_BODY_SHARE = 0.05


def write_thumbnail(volume: Volume, labels: NDArray[np.uint8], table: Sequence[Label], path: Path) -> None:
    """Write a PNG of ``SIZE`` x ``SIZE`` pixels; the patient's right is on the left, anterior is up."""
    import SimpleITK as sitk

    picture = draw_thumbnail(volume, labels, table)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))


def draw_thumbnail(volume: Volume, labels: NDArray[np.uint8], table: Sequence[Label]) -> NDArray[np.uint8]:
    """Return the picture as RGB (SIZE, SIZE, 3)."""
    orientation, affine = find_orientation(volume.affine, volume.shape)
    image, marks = orientation.view(volume.array), orientation.view(labels)
    index = _slice_index(marks, table)
    column_mm, row_mm, _ = (float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    (row_low, column_low), (row_high, column_high) = _body_box(image[index])
    step = max((row_high - row_low) * row_mm, (column_high - column_low) * column_mm) / SIZE
    rows, row_in = _samples(image.shape[1], (row_low + row_high) / 2, step / row_mm)
    columns, column_in = _samples(image.shape[2], (column_low + column_high) / 2, step / column_mm)
    low, high = WINDOW_HU
    gray = ((image[index][np.ix_(rows, columns)].astype(np.float32) - low) / (high - low)).clip(0, 1)
    shown = np.where(np.outer(row_in, column_in), marks[index][np.ix_(rows, columns)], 0)
    rgb = np.repeat((gray * np.outer(row_in, column_in))[..., None], 3, axis=2)
    edge = _inner_edge(shown)
    for label in table:
        rgb[edge & (shown == label.value)] = np.array(label.color, np.float32) / 255
    return np.ascontiguousarray((rgb[::-1, ::-1] * 255).astype(np.uint8))


def _slice_index(marks: NDArray[np.uint8], table: Sequence[Label]) -> int:
    """Return the slice that shows most of the largest lesion, else of all labels."""
    low, high = index_box(marks)
    if low == high:
        return len(marks) // 2
    part = marks[box_slices(low, high)]
    areas = {label.value: (part == label.value).sum(axis=(1, 2)) for label in table if is_lesion(label.name)}
    sizes = {value: int(area.sum()) for value, area in areas.items()}
    best = max(sizes, key=lambda value: sizes[value], default=0)
    area = areas[best] if sizes.get(best) else (part > 0).sum(axis=(1, 2))
    return int(low[0] + np.argmax(area))


def _body_box(plane: NDArray[np.int16]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the index box of the rows and columns of a slice that hold more than thin lines of what is not air."""
    mask = plane > _AIR_HU
    lines = [mask.sum(axis=axis) > _BODY_SHARE * mask.shape[axis] for axis in (1, 0)]
    low, high = index_box(np.outer(*lines))
    return (low, high) if low != high else ((0, 0), plane.shape)


def _samples(count: int, middle: float, step: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the index that each pixel shows, ``step`` voxels apart around ``middle``, and if it lies in the image."""
    index = np.floor((np.arange(SIZE) - SIZE / 2 + 0.5) * step + middle).astype(np.int64)
    return index.clip(0, count - 1), (index >= 0) & (index < count)


def _inner_edge(marks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    edge = np.zeros(marks.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            edge |= np.roll(marks, shift, axis) != marks
    return edge & (marks > 0)
