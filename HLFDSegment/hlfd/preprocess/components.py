"""Connected components of masks, cropped to what is filled (SimpleITK)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Part:
    """One component: its label, voxel count, index box (``low`` <= index < ``high``) and mean index, (z, y, x)."""

    label: int
    voxels: int
    low: tuple[int, int, int]
    high: tuple[int, int, int]
    centroid: tuple[float, float, float]


@dataclass(frozen=True)
class Components:
    """Label array (0 is background) and its parts in the order of their labels."""

    labels: NDArray[np.integer]
    parts: tuple[Part, ...]


def index_box(mask: NDArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the index box (low, high exclusive) of the non-zero voxels; (0..., 0...) for an empty mask."""
    if mask.size == 0:
        return (0,) * mask.ndim, (0,) * mask.ndim
    # The first axis in one pass, all others on its projection: two passes over the mask instead of one per axis.
    lines = [mask.reshape(len(mask), -1).any(axis=1)]
    projection: NDArray[np.bool_] = np.asarray(mask.any(axis=0))
    for axis in range(projection.ndim):
        lines.append(projection.any(axis=tuple(a for a in range(projection.ndim) if a != axis)))
    filled = [np.flatnonzero(line) for line in lines]
    if not len(filled[0]):
        return (0,) * mask.ndim, (0,) * mask.ndim
    return tuple(int(f[0]) for f in filled), tuple(int(f[-1]) + 1 for f in filled)


def components(mask: NDArray[np.bool_], touching: bool = True) -> Components:
    """Label the components of ``mask`` (z, y, x); ``touching`` counts voxels that share an edge or corner as one."""
    import SimpleITK as sitk

    labels = np.zeros(mask.shape, np.uint32)
    low, high = index_box(mask)
    if low == high:
        return Components(labels, ())
    crop = tuple(slice(a, b) for a, b in zip(low, high))
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(np.ascontiguousarray(mask[crop]).view(np.uint8)), touching)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOff()
    statistics.Execute(image)
    labels[crop] = sitk.GetArrayViewFromImage(image)
    return Components(labels, tuple(_part(statistics, int(label), low) for label in statistics.GetLabels()))


def _part(statistics: object, label: int, offset: tuple[int, ...]) -> Part:
    x, y, z, width, height, depth = statistics.GetBoundingBox(label)  # type: ignore[attr-defined]
    cx, cy, cz = statistics.GetCentroid(label)  # type: ignore[attr-defined]
    oz, oy, ox = offset
    return Part(
        label,
        int(statistics.GetNumberOfPixels(label)),  # type: ignore[attr-defined]
        (z + oz, y + oy, x + ox),
        (z + oz + depth, y + oy + height, x + ox + width),
        (cz + oz, cy + oy, cx + ox),
    )
