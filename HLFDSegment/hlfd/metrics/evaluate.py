"""All metrics of one case, on the whole volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.metrics.align import align
from hlfd.metrics.groups import Groups, groups_for, is_lesion_group
from hlfd.metrics.lesions import detect
from hlfd.metrics.overlap import Counts, dice, relative_volume_difference, slice_dice, volume_overlap_error
from hlfd.metrics.surface import (
    bounding_box,
    farthest_false_mm,
    hausdorff_95,
    normalised_surface_dice,
    surface_distances,
)
from hlfd.volume import LabelMap


def _surface(pred: NDArray[np.bool_], ref: NDArray[np.bool_], spacing: tuple[float, float, float]) -> dict[str, Any]:
    if not (pred.any() and ref.any()):
        same = 0.0 if pred.any() or ref.any() else 1.0
        return {"nsd_1mm": same, "nsd_2mm": same, "hd95_mm": 0.0 if same else None}
    distances = surface_distances(pred, ref, spacing)
    return {
        "nsd_1mm": normalised_surface_dice(distances, 1.0),
        "nsd_2mm": normalised_surface_dice(distances, 2.0),
        "hd95_mm": hausdorff_95(distances),
    }


def compare(pred: NDArray[np.bool_], ref: NDArray[np.bool_], grid: LabelMap, lesions: bool = False) -> dict[str, Any]:
    """Return every metric of two (k, j, i) masks on ``grid``; ``lesions`` adds detection and slice-wise Dice.

    Two empty masks agree: Dice and NSD are 1, HD95 and VOE 0, and ``both_empty`` says so. HD95 (mm) is None when one
    mask is empty, RVD and the distance of the farthest false voxel (mm) when the reference is.
    """
    box = bounding_box(pred | ref) or (slice(0, 1),) * 3
    pred, ref = pred[box], ref[box]
    counts = Counts.of(pred, ref)
    rvd = relative_volume_difference(counts)
    values: dict[str, Any] = {
        "dice": dice(counts),
        **_surface(pred, ref, grid.spacing),
        "voe": volume_overlap_error(counts),
        "rvd": rvd,
        "abs_rvd": None if rvd is None else abs(rvd),
        "pred_ml": counts.pred * grid.voxel_ml,
        "ref_ml": counts.ref * grid.voxel_ml,
        "volume_error_ml": (counts.pred - counts.ref) * grid.voxel_ml,
        "false_ml": (counts.pred - counts.both) * grid.voxel_ml,
        "farthest_false_mm": farthest_false_mm(pred, ref, grid.spacing) if counts.ref else None,
        "both_empty": counts.empty,
    }
    if lesions:
        axial = 2 - int(np.abs(grid.affine[2, :3] / grid.spacing).argmax())
        values["slice_dice"] = slice_dice(pred, ref, axial)
        values["lesions"] = detect(pred, ref, grid.voxel_ml).to_dict()
    return values


def _select(array: NDArray[np.uint8], values: Sequence[int]) -> NDArray[np.bool_]:
    chosen = np.zeros(256, bool)
    chosen[list(values)] = True
    return chosen[array]


def evaluate(pred: LabelMap, ref: LabelMap, groups: Groups | None = None) -> dict[str, Any]:
    """Return the metrics of every group as ``{"groups": {name: {...}}}``, ready for JSON.

    ``groups`` maps names to (values of the prediction, values of the reference); without it they follow from the label
    tables (``groups_for``). Each group reports its values, Dice, NSD at 1 and 2 mm, HD95 in mm, VOE, RVD, volumes,
    their error and what is false in ml; groups of lesions also detection and, over axial slices with reference lesion
    only, ``slice_dice``. Raises ``GeometryError`` when the grids differ by more than order and direction of axes or
    cropping, and ``UsageError`` when the tables share nothing.
    """
    pred, ref = align(pred, ref)
    results = {}
    for name, (pred_values, ref_values) in (groups or groups_for(pred, ref)).items():
        p, r = _select(pred.array, pred_values), _select(ref.array, ref_values)
        results[name] = {
            "pred_values": sorted(pred_values),
            "ref_values": sorted(ref_values),
            **compare(p, r, ref, is_lesion_group(name)),
        }
    return {"groups": results}
