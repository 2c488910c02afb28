"""A whole simulated CT scan with its exact label map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hlfd.labels import PHANTOM_LABELS
from hlfd.phantom.acquisition import AcquisitionSettings, render
from hlfd.phantom.anatomy import AnatomySettings, build_anatomy
from hlfd.phantom.tissues import to_labels
from hlfd.volume import LabelMap, Volume


@dataclass(frozen=True)
class PhantomSettings:
    """A simulated scan: the patient and how it was scanned."""

    anatomy: AnatomySettings = field(default_factory=lambda: AnatomySettings(shape=(160, 256, 256)))
    acquisition: AcquisitionSettings = field(default_factory=AcquisitionSettings)


def simulate(
    settings: PhantomSettings, seed: int, kits: LabelMap | None = None, device: str = "cpu"
) -> tuple[Volume, LabelMap]:
    """Return the CT in int16 HU and its exact label map with ``PHANTOM_LABELS``, both in RAS order."""
    anatomy = build_anatomy(settings.anatomy, seed, kits, device)
    image = render(anatomy.tissue, anatomy.spacing_mm, seed, settings.acquisition)
    array = image.round().cpu().numpy().astype(np.int16)
    labels = to_labels(anatomy.tissue.cpu().numpy())
    return Volume(array, anatomy.affine, f"phantom {seed}"), LabelMap(labels, anatomy.affine, PHANTOM_LABELS)
