"""Lesion-wise detection: which components of the reference are found, and which of the prediction are true."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

MIN_IOU = 0.1
LARGE_ML = 1.0


@dataclass(frozen=True)
class Detection:
    """Counts and rates of one case; a rate is None where it has no denominator.

    A reference lesion is found, and a predicted one is true, when it overlaps one of the other side with an
    intersection over union above 0.1. With no lesion on either side all rates are 1.
    """

    reference: int
    predicted: int
    found: int
    true: int
    reference_above_1ml: int
    found_above_1ml: int
    sensitivity: float | None
    precision: float | None
    f1: float
    sensitivity_above_1ml: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the fields for JSON."""
        return asdict(self)


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the 26-connected components of a (k, j, i) mask as 1..n, and their sizes in voxels."""
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)
    labels = sitk.GetArrayFromImage(image)
    return labels, np.bincount(labels.ravel())[1:]


def _matches(
    pred: NDArray[np.uint32], ref: NDArray[np.uint32], sizes: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    pred_sizes, ref_sizes = sizes
    both = (pred > 0) & (ref > 0)
    pairs = pred[both].astype(np.int64) * (ref_sizes.size + 1) + ref[both]
    keys, shared = np.unique(pairs, return_counts=True)
    p, r = keys // (ref_sizes.size + 1) - 1, keys % (ref_sizes.size + 1) - 1
    good = shared / (pred_sizes[p] + ref_sizes[r] - shared) > MIN_IOU
    true, found = np.zeros(pred_sizes.size, bool), np.zeros(ref_sizes.size, bool)
    true[p[good]] = True
    found[r[good]] = True
    return true, found


def true_components(pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the lesions of ``pred`` (k, j, i) as 1..n, and per lesion whether ``detect`` counts it as true."""
    pred_labels, pred_sizes = components(pred)
    ref_labels, ref_sizes = components(ref)
    return pred_labels, _matches(pred_labels, ref_labels, (pred_sizes, ref_sizes))[0]


def detect(pred: NDArray[np.bool_], ref: NDArray[np.bool_], voxel_ml: float) -> Detection:
    """Match the lesions of two (k, j, i) masks on one grid; ``voxel_ml`` is the volume of a voxel in ml."""
    pred_labels, pred_sizes = components(pred)
    ref_labels, ref_sizes = components(ref)
    true, found = _matches(pred_labels, ref_labels, (pred_sizes, ref_sizes))
    large = ref_sizes * voxel_ml > LARGE_ML
    none = not (true.size or found.size)
    sensitivity = float(found.mean()) if found.size else (1.0 if none else None)
    precision = float(true.mean()) if true.size else (1.0 if none else None)
    rates = (sensitivity or 0.0, precision or 0.0)
    return Detection(
        reference=int(found.size),
        predicted=int(true.size),
        found=int(found.sum()),
        true=int(true.sum()),
        reference_above_1ml=int(large.sum()),
        found_above_1ml=int(found[large].sum()),
        sensitivity=sensitivity,
        precision=precision,
        f1=2 * rates[0] * rates[1] / sum(rates) if sum(rates) else 0.0,
        sensitivity_above_1ml=float(found[large].mean()) if large.any() else None,
    )
