"""The job ``case_load``: image and labels of a case, for an application that must not wait for files.

Arguments: ``project`` (folder), ``case`` (its id). Answer: ``affine`` (4x4 IJK->RAS in mm), ``start`` (k, j, i) and
``values``, those that the labels hold; arrays out: ``volume`` (k, j, i) int16 HU, ``labels`` uint8, cut to what is not
background, whose first voxel is at ``start``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hlfd.events import ProgressClock, Stage
from hlfd.io import read_label_map, read_volume
from hlfd.io.hounsfield import count_labels
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
from hlfd.project import Project
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Read the case; see the top of this file."""
    project = Project.open(str(context.arguments["project"]))
    info = project.case(str(context.arguments["case"]))
    context.on_event(Stage("read"))
    clock = ProgressClock(2, context.on_event, context.cancel)
    volume = read_volume(info.image)
    context.save("volume", volume.array)
    clock.advance()
    labels = read_label_map(info.label, project.labels).array
    low, high = index_box(labels)
    part = np.ascontiguousarray(labels[box_slices(low, high)])
    context.save("labels", part)
    values = [int(value) for value in np.flatnonzero(count_labels(part)) if value]
    clock.advance()
    return {"affine": volume.affine.tolist(), "start": [int(v) for v in low], "values": values}
