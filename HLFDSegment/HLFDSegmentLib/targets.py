"""Where to point the views: the largest lesion or kidney of a label map, and the patient's body in the CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.labels import Label
from hlfd.preprocess.components import components
from hlfd.volume import LabelMap, Volume

_BODY_HU = -250
_BODY_SAMPLE_MM = 4.0
_LESION_CATEGORY = "49755003"  # SNOMED CT: Morphologically Altered Structure
_LESION_ORDER = ("tumor", "cyst")


@dataclass(frozen=True)
class Target:
    """What a picture is about: ``center_ras`` in mm lies in the structure; ``kind`` is lesion, organ or image."""

    kind: str
    name: str
    center_ras: tuple[float, float, float]
    volume_ml: float


@dataclass(frozen=True)
class Box:
    """An axis-parallel box in RAS mm: ``low`` and ``high`` corners."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def center(self) -> NDArray[np.float64]:
        """The middle of the box in RAS mm."""
        return (self.low + self.high) / 2.0

    @property
    def size(self) -> NDArray[np.float64]:
        """The extent of the box along R, A and S in mm."""
        return self.high - self.low


def is_lesion(label: Label) -> bool:
    """Return whether the label is an abnormal structure, by its terminology, else by its name."""
    if label.terminology is not None:
        return label.terminology.category[1] == _LESION_CATEGORY
    return any(word in label.name.lower() for word in _LESION_ORDER)


def choose_target(label_map: LabelMap) -> Target:
    """Return the largest tumour, else the largest cyst or other lesion, else the largest organ part, else the middle.

    Parts are connected components; the centre is the part's voxel nearest to its centroid, so it is never outside.
    """
    lesions = [label for label in label_map.labels if is_lesion(label)]
    tumors = [label for label in lesions if _LESION_ORDER[0] in label.name.lower()]
    organs = [label for label in label_map.labels if not is_lesion(label)]
    kidneys = [label for label in organs if "kidney" in label.name.lower()]
    for kind, group in (("lesion", tumors), ("lesion", lesions), ("organ", kidneys), ("organ", organs)):
        found = [target for label in group if (target := _largest_part(label_map, label, kind))]
        if found:
            return max(found, key=lambda target: target.volume_ml)
    k, j, i = label_map.shape
    return Target("image", "", _to_ras(label_map.affine, np.array([(k - 1) / 2, (j - 1) / 2, (i - 1) / 2])), 0.0)


def structures_box(label_map: LabelMap) -> Box | None:
    """Return the RAS box around all labels, or None when there are none."""
    index = np.argwhere(label_map.array)
    return _ras_box(label_map.affine, index) if index.size else None


def body_box(volume: Volume) -> Box:
    """Return the RAS box of nearly all voxels above -250 HU, sampled at about 4 mm; the whole image without any.

    Half a percent is cut on every side, which leaves out a thin table and noise.
    """
    stride = [max(1, int(_BODY_SAMPLE_MM / mm)) for mm in volume.spacing[::-1]]
    sample = volume.array[:: stride[0], :: stride[1], :: stride[2]]
    index = np.argwhere(sample > _BODY_HU) * stride
    if len(index) < 8:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1).T
        return _ras_box(volume.affine, corners)
    points = _points(volume.affine, index)
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    return Box(low, high)


def _largest_part(label_map: LabelMap, label: Label, kind: str) -> Target | None:
    found = components(label_map.array == label.value)
    if not found.parts:
        return None
    part = max(found.parts, key=lambda part: part.voxels)
    index = np.argwhere(found.labels == part.label)
    nearest = index[np.square(index - np.array(part.centroid)).sum(axis=1).argmin()]
    return Target(kind, label.name, _to_ras(label_map.affine, nearest), part.voxels * label_map.voxel_ml)


def _points(affine: NDArray[np.float64], index: NDArray) -> NDArray[np.float64]:
    return index[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]


def _ras_box(affine: NDArray[np.float64], index: NDArray) -> Box:
    points = _points(affine, index)
    return Box(points.min(axis=0), points.max(axis=0))


def _to_ras(affine: NDArray[np.float64], index: NDArray) -> tuple[float, float, float]:
    r, a, s = _points(affine, index[None])[0]
    return float(r), float(a), float(s)
