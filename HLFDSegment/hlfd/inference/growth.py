"""A region grows after a mass that reaches its end: the locator sees where a large mass begins, the refiner more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.regions import Found, RegionRules
from hlfd.preprocess.components import components, index_box
from hlfd.preprocess.frame import box_slices
from hlfd.preprocess.grid import Box, Grid
from hlfd.preprocess.morphology import dilate

MOST_TIMES = 3
"""How often a region may grow, each time by about its margin beyond what is known of the mass."""
_LEAST_CUT_MM2 = 400.0
"""A mass that ends with less of its surface at the end of its region is taken for whole."""


def follow_masses(
    labels: NDArray[np.uint8],
    grid: Grid,
    lesions: Sequence[int],
    box: Box,
    limits: Box,
    found: Found,
    rules: RegionRules,
) -> tuple[Box, Found] | None:
    """Return a larger region for masses that reach the end of theirs; None where all of them end inside.

    ``labels`` (z, y, x) on ``grid`` are what was kept in ``box``, ``lesions`` the values of masses. The larger box, in
    mm of the frame, lies inside ``limits``; beside it is what was found, with the masses in its support.
    """
    mask = np.isin(labels, lesions)
    low, high = index_box(mask)
    if low == high:
        return None
    crop = box_slices([max(0, a - 1) for a in low], [min(b + 1, n) for b, n in zip(high, mask.shape)])
    part = mask[crop]
    inside = grid.crop([s.start for s in crop], [s.stop for s in crop])  # type: ignore[arg-type]
    end = np.pad(found.outside(inside), 1)
    # The faces of the box, where it can go on; where the crop ends before the box they lie a voxel off all masses.
    for axis, (first, last) in enumerate(zip(np.less(limits.low, box.low), np.less(box.high, limits.high))):
        faces = np.moveaxis(end, axis, 0)
        faces[0], faces[-1] = first, last
    masses = components(part)
    cut = np.bincount(masses.labels[part & dilate(end, 1)[1:-1, 1:-1, 1:-1]], minlength=len(masses.parts) + 1)
    long = [p for p in masses.parts if cut[p.label] * grid.spacing[0] ** 2 >= _LEAST_CUT_MM2]
    if not long:
        return None
    wider = box
    for mass in long:
        wider = wider.union(inside.box(mass.low, mass.high).grown(rules.margin_mm))
    followed = found.with_masses(np.isin(masses.labels, [p.label for p in long]), inside, rules.support_mm)
    wider = wider.clipped(limits).union(box)
    return None if wider == box and (followed.support == found.support).all() else (wider, followed)
