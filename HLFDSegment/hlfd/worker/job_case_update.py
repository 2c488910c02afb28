"""The job ``case_update``: a case gets other labels.

Arguments: ``project`` (folder), ``case`` (its id), ``label_affine`` (4x4 IJK->RAS in mm), ``drawn_on_image``. Array in:
``labels`` as for ``case_add``. Answer: ``case`` (``CaseInfo.to_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hlfd.errors import EmptyInputError
from hlfd.project import Project
from hlfd.volume import LabelMap
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Update the case; see the top of this file."""
    values = context.arguments
    if "labels" not in context.arrays:
        raise EmptyInputError("The job holds no labels.", "Choose a segmentation.")
    labels = LabelMap(context.arrays["labels"], np.array(values["label_affine"], np.float64))
    context.cancel.check()
    trusted = bool(values.get("drawn_on_image", False))
    project = Project.open(str(values["project"]))
    return {"case": project.update(str(values["case"]), labels, context.on_event, trusted).to_dict()}
