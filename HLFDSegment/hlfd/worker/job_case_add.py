"""The job ``case_add``: an image and its labels become a case of a project.

Arguments: ``project`` (folder), ``affine`` and ``label_affine`` (4x4 IJK->RAS in mm), ``title``, ``role``, ``source``
(names to text), ``drawn_on_image`` (the labels belong to this image, whatever their grid). Arrays in: ``volume``
(k, j, i) in HU, of any type that a scan may have; ``labels`` (k, j, i) uint8, values of the project's labels, on the
grid of ``label_affine``. Answer: ``case`` (``CaseInfo.to_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hlfd.errors import EmptyInputError
from hlfd.io.hounsfield import to_hounsfield
from hlfd.project import Project
from hlfd.volume import LabelMap, Volume
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Add the case; see the top of this file."""
    values = context.arguments
    if not {"volume", "labels"} <= set(context.arrays):
        raise EmptyInputError("The job lacks an image or labels.", "Choose a CT and its segmentation.")
    affine = np.array(values["affine"], np.float64)
    volume = Volume(to_hounsfield(context.arrays["volume"]), affine)
    labels = LabelMap(context.arrays["labels"], np.array(values.get("label_affine", affine), np.float64))
    info = Project.open(str(values["project"])).add(
        *(volume, labels, str(values.get("title", "")), dict(values.get("source", {}))),
        on_event=context.on_event,
        cancel=context.cancel,
        role=str(values.get("role", "train")),
        drawn_on_image=bool(values.get("drawn_on_image", False)),
    )
    return {"case": info.to_dict()}
