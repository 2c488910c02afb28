"""Plain overlay pictures without Slicer: three slices through the largest lesion with the labels on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from hlfd.preprocess.orientation import canonical
from hlfd.report.content import Picture
from hlfd.volume import LabelMap, Volume

WINDOW_HU = (-160.0, 240.0)
SIZE = 900
_FILL = 0.35
# axis of the canonical (superior, anterior, right) array that each plane cuts, and what runs along rows and columns
_PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


def draw_overlays(volume: Volume, labels: LabelMap, folder: Path) -> tuple[Picture, ...]:
    """Write axial.png, coronal.png and sagittal.png, ``SIZE`` pixels square, into ``folder`` and return them.

    The planes are those of the patient for images along its axes, else the image's own nearest ones.
    """
    image = canonical(volume)
    shown = image.orientation.view(labels.array)
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)[::-1]
    center, name = _target(shown, labels)
    pictures = []
    for plane, axis in _PLANES:
        rows, columns = (a for a in range(3) if a != axis)
        gray, values = (np.take(array, center[axis], axis) for array in (image.array, shown))
        picture = _paint(gray, values, labels, float(spacing[rows]), float(spacing[columns]))
        path = folder / f"{plane}.png"
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))
        side = " The patient's right is on the left." if axis != 2 else " The front is on the left."
        pictures.append(Picture(path, f"{plane.capitalize()} slice {name}.{side}"))
    return tuple(pictures)


def _target(values: NDArray[np.uint8], labels: LabelMap) -> tuple[list[int], str]:
    """Return the voxel that the pictures go through and what it is, in words."""
    counts = np.bincount(values.ravel(), minlength=256)
    present = [label for label in labels.labels if counts[label.value]]
    lesions = [label for label in present if label.name.endswith(("tumor", "cyst"))]
    if not present:
        return [n // 2 for n in values.shape], "through the middle of the image"
    chosen = max(lesions or present, key=lambda label: (label.name.endswith("tumor"), counts[label.value]))
    parts = sitk.RelabelComponent(
        sitk.ConnectedComponent(sitk.GetImageFromArray((values == chosen.value).astype(np.uint8)))
    )
    where = np.argwhere(sitk.GetArrayViewFromImage(parts) == 1)
    return [int(v) for v in np.median(where, axis=0)], f"through the largest {chosen.name}"


def _paint(
    gray: NDArray, values: NDArray[np.uint8], labels: LabelMap, row_mm: float, column_mm: float
) -> NDArray[np.uint8]:
    """Return an RGB picture (SIZE, SIZE, 3) with superior or anterior up and the patient's right on the left."""
    extent = max(gray.shape[0] * row_mm, gray.shape[1] * column_mm)
    step = extent / SIZE
    rows, row_in = _samples(gray.shape[0], row_mm, step)
    columns, column_in = _samples(gray.shape[1], column_mm, step)
    low, high = WINDOW_HU
    tile = ((gray[np.ix_(rows, columns)].astype(np.float32) - low) / (high - low)).clip(0, 1)
    marks = values[np.ix_(rows, columns)]
    inside = np.outer(row_in, column_in)
    rgb = np.repeat((tile * inside)[..., None], 3, axis=2)
    edge = _edges(marks)
    for label in labels.labels:
        color = np.array(label.color, np.float32) / 255
        here = (marks == label.value) & inside
        rgb[here] = (1 - _FILL) * rgb[here] + _FILL * color
        rgb[here & edge] = color
    return np.ascontiguousarray((rgb[::-1, ::-1] * 255).astype(np.uint8))


def _samples(count: int, spacing: float, step: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the index that each pixel shows, and whether it lies in the image."""
    index = np.floor((np.arange(SIZE) - SIZE / 2 + 0.5) * step / spacing + count / 2).astype(np.int64)
    return index.clip(0, count - 1), (index >= 0) & (index < count)


def _edges(marks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    edge = np.zeros(marks.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1, 2, -2):
            edge |= np.roll(marks, shift, axis) != marks
    return edge
