"""The worker's job ``surfaces``: closed surfaces of labels.

Arguments: ``affine`` (4x4 IJK->RAS in mm), ``values``, ``smoothing``. Array in: ``labels`` (k, j, i) uint8. Arrays out,
per value: ``points-N``, ``normals-N`` and ``triangles-N``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hlfd.worker.context import JobContext
from HLFDSegmentLib.surfaces import closed_surfaces


def run(context: JobContext) -> Mapping[str, Any]:
    """Make the surfaces; see the top of this file."""
    values = [int(value) for value in context.arguments["values"]]
    affine = np.array(context.arguments["affine"], np.float64)
    smoothing = float(context.arguments["smoothing"])
    made = closed_surfaces(context.arrays["labels"], affine, values, smoothing, context.cancel)
    for value, surface in made.items():
        for name, array in vars(surface).items():
            context.save(f"{name}-{value}", array)
    return {"values": values}
