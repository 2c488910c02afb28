"""What a segmentation run returns: label map, measurements, lesions, and how it was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from hlfd.volume import LabelMap


@dataclass(frozen=True)
class Structure:
    """Measurements of one label: volume in ml, longest 3-D diameter in mm, HU mean and sd (None when empty)."""

    name: str
    value: int
    voxels: int
    volume_ml: float
    longest_diameter_mm: float | None
    hu_mean: float | None
    hu_sd: float | None


@dataclass(frozen=True)
class Lesion:
    """One connected tumour or cyst.

    ``axial_long_mm`` and ``axial_short_mm`` are the longest diameter in the axial plane where it is largest and
    the longest perpendicular to it there (as in RECIST); ``centroid_ras`` is in mm. ``confidence`` is the share, 0 to
    1, of true lesions that was measured among lesions like it; None where the model was not calibrated.
    """

    number: int
    name: str
    value: int
    side: str
    volume_ml: float
    longest_diameter_mm: float
    axial_long_mm: float
    axial_short_mm: float
    hu_mean: float
    hu_sd: float
    centroid_ras: tuple[float, float, float]
    confidence: float | None = None


@dataclass(frozen=True)
class SegmentationResult:
    """The outcome for one volume; ``label_map`` lies on the grid of the input.

    ``timing`` holds seconds per stage; ``mode`` is ``roi`` or ``box`` as really used; ``regions`` are the refined
    regions as (low RAS corner, high RAS corner) in mm. ``left_out_ml`` holds the volumes of the tumours and cysts that
    are almost surely none and were given back to their surroundings, largest first.
    """

    label_map: LabelMap
    structures: tuple[Structure, ...]
    lesions: tuple[Lesion, ...]
    model: str
    model_version: str
    demonstration: bool
    device: str
    backend: str
    mode: str
    timing: dict[str, float]
    warnings: tuple[str, ...] = ()
    regions: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = field(default=())
    left_out_ml: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything except the label map, ready for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "label_map"}
        plain["structures"] = [asdict(s) for s in self.structures]
        plain["lesions"] = [asdict(lesion) for lesion in self.lesions]
        return plain
