"""The box around the patient's body, without table and air, and the plane between left and right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.preprocess.components import components, index_box
from hlfd.preprocess.frame import Frame
from hlfd.preprocess.grid import Box
from hlfd.preprocess.morphology import opening

COARSE_MM = 5.0
BODY_HU = -250.0
MIN_BODY_ML = 50.0


@dataclass(frozen=True)
class Body:
    """The body's box and the x position (mm of the frame) of its middle; ``found`` is False for the whole image."""

    box: Box
    midline: float
    found: bool


def find_body(frame: Frame) -> Body:
    """Find the largest connected part above -250 HU on a grid of about 5 mm; opening parts it from the table."""
    values, grid = frame.coarse(COARSE_MM)
    mask = np.ascontiguousarray(values > BODY_HU)
    largest = _largest(mask)
    whole = frame.box
    if largest is None or np.count_nonzero(largest) * grid.voxel_ml < MIN_BODY_ML:
        return Body(whole, (whole.low[2] + whole.high[2]) / 2, found=False)
    low, high = index_box(largest)
    box = grid.box([n - 1 for n in low], [n + 1 for n in high]).clipped(whole)
    return Body(box, grid.start[2] + grid.spacing[2] * _middle(largest), found=True)


def _middle(mask: NDArray[np.bool_]) -> float:
    """Return the median over slices of the middle between the body's sides, in voxels."""
    columns: NDArray[np.bool_] = mask.max(axis=1)
    filled = columns[columns.max(axis=1)]
    first = filled.argmax(axis=1)
    last = filled.shape[1] - 1 - filled[:, ::-1].argmax(axis=1)
    return float(np.median((first + last) / 2))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    found = components(opening(mask, 1))
    if not found.parts:
        found = components(mask)
    if not found.parts:
        return None
    largest = max(found.parts, key=lambda part: part.voxels)
    return found.labels == largest.label
