"""What is measured of one scan of the robustness table, and what counts as a failure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import UsageError
from hlfd.labels import KIDNEY_CYST, KIDNEY_LABELS, KIDNEY_TUMOR
from hlfd.metrics.lesions import components, detect
from hlfd.metrics.overlap import Counts, dice
from hlfd.volume import LabelMap

GROUPS = {
    "kidney_and_masses": tuple(label.value for label in KIDNEY_LABELS),
    "masses": (KIDNEY_TUMOR.value, KIDNEY_CYST.value),
    "tumor": (KIDNEY_TUMOR.value,),
}
LOST_DICE = 0.5
KIDNEY_ML = 5.0
FALSE_ORGAN_ML = 5.0
FALSE_TUMOR_ML = 2.0
FALSE_SHARE = 0.1
CRUMB_ML = 0.2


def score(predicted: LabelMap, truth: LabelMap) -> dict[str, Any]:
    """Return Dice per group (None where truth has none), tumors of 0.2 ml or more found, and failures of one scan.

    Both label maps lie on one grid along the patient's axes with x = 0 on the spine. A kidney is *lost* where the Dice
    of kidney and masses on its side of x = 0 is below 0.5; a *false organ* is a component of at least 5 ml of which
    less than a tenth is kidney or mass; a *false tumor* one of more than 2 ml of which less than a tenth is tumor.
    Raises ``UsageError`` for a model whose labels are not those of the kidney.
    """
    if [label.value for label in predicted.labels] != [label.value for label in KIDNEY_LABELS]:
        raise UsageError("The robustness table is for models of kidney, tumor and cyst.", "Choose such a model.")
    masks = {name: (_select(predicted, values), _select(truth, values)) for name, values in GROUPS.items()}
    organ, tumor = masks["kidney_and_masses"], masks["tumor"]
    voxel_ml = truth.voxel_ml
    found = detect(tumor[0], _without_crumbs(tumor[1], voxel_ml), voxel_ml)
    return {
        "dice": {name: dice(Counts.of(*pair)) if pair[1].any() else None for name, pair in masks.items()},
        "tumors_above_1ml": found.reference_above_1ml,
        "found_above_1ml": found.found_above_1ml,
        "tumors_below_1ml": found.reference - found.reference_above_1ml,
        "found_below_1ml": found.found - found.found_above_1ml,
        "tumor_ml": float(tumor[1].sum() * voxel_ml),
        "largest_tumor_ml": _largest_ml(tumor[1], voxel_ml),
        "kidneys": _sides(*organ, truth),
        "false_organs_ml": _false_parts(*organ, voxel_ml, FALSE_ORGAN_ML),
        "false_tumors_ml": _false_parts(*tumor, voxel_ml, FALSE_TUMOR_ML),
    }


def _select(labels: LabelMap, values: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.isin(labels.array, values)


def _without_crumbs(mask: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
    """Leave out the small parts that septa and the border of the organ cut off a tumor."""
    labels, sizes = components(mask)
    return np.concatenate([[False], sizes * voxel_ml >= CRUMB_ML])[labels]


def _largest_ml(mask: NDArray[np.bool_], voxel_ml: float) -> float:
    sizes = components(mask)[1]
    return float(sizes.max() * voxel_ml) if sizes.size else 0.0


def _sides(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], grid: LabelMap) -> dict[str, float]:
    """Return the Dice of each side of the spine that truly holds a kidney."""
    x = grid.affine[0, 3] + grid.affine[0, 0] * np.arange(truth.shape[2])
    sides = {}
    for name, columns in (("left", x < 0), ("right", x >= 0)):
        mine = truth[:, :, columns]
        if mine.sum() * grid.voxel_ml >= KIDNEY_ML:
            sides[name] = dice(Counts.of(predicted[:, :, columns], mine))
    return sides


def _false_parts(
    predicted: NDArray[np.bool_], truth: NDArray[np.bool_], voxel_ml: float, least_ml: float
) -> list[float]:
    """Return the volumes of the predicted components of at least ``least_ml`` that hardly meet the truth."""
    labels, sizes = components(predicted)
    met = np.bincount(labels[truth], minlength=len(sizes) + 1)[1:]
    false = (sizes * voxel_ml >= least_ml) & (met < FALSE_SHARE * sizes)
    return [float(ml) for ml in sizes[false] * voxel_ml]
