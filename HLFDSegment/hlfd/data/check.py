"""Check a data set before training: what is missing, what does not fit, and what is not CT, case by case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.data.layouts import Case, find_cases
from hlfd.errors import HlfdError
from hlfd.events import Event, OnEvent, Progress, Warn, ignore
from hlfd.io import read_label_map, read_volume
from hlfd.io.hounsfield import count_labels
from hlfd.volume import LabelMap, Volume

KNOWN_VALUES = (1, 2, 3, 4)
"""Values of KiTS (1 kidney, 2 tumour, 3 cyst), LiTS (1 liver, 2 tumour) and this project (4 right kidney)."""
_MAX_ANISOTROPY = 10.0
_MIN_SPACING_MM = 0.2


@dataclass(frozen=True)
class Finding:
    """One thing wrong (``error``) or odd (``warning``) with a case; ``code`` is machine-readable."""

    code: str
    level: str
    message: str


@dataclass(frozen=True)
class CaseReport:
    """What was found in one case; spacing (i, j, k) in mm, shape (k, j, i), volume in ml per label value."""

    id: str
    image: Path
    label: Path | None
    findings: tuple[Finding, ...]
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    hu_range: tuple[float, float] | None = None
    label_ml: dict[int, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether the case can be used: it has no error; warnings are allowed."""
        return not any(finding.level == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, paths as text."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {"image": str(self.image), "label": None if self.label is None else str(self.label), "ok": self.ok}
        plain["findings"] = [vars(finding) for finding in self.findings]
        return plain


def _error(code: str, message: str) -> Finding:
    return Finding(code, "error", message)


def _warning(code: str, message: str) -> Finding:
    return Finding(code, "warning", message)


def _check_spacing(volume: Volume) -> list[Finding]:
    low, high = min(volume.spacing), max(volume.spacing)
    if low < _MIN_SPACING_MM or high / low > _MAX_ANISOTROPY:
        text = " x ".join(f"{value:.3g}" for value in volume.spacing)
        return [_warning("odd_spacing", f"The spacing of {text} mm is unusual for an abdominal CT.")]
    return []


def _check_labels(volumes: dict[int, float], known: Iterable[int]) -> list[Finding]:
    if not volumes:
        return [_error("empty_label", "The label map holds background only.")]
    unknown = sorted(set(volumes) - set(known))
    if unknown:
        return [_error("unknown_value", f"The label map holds the values {unknown}; {sorted(known)} are known.")]
    return []


def _volumes(label_map: LabelMap) -> dict[int, float]:
    counts = count_labels(label_map.array)
    return {int(v): round(float(counts[v]) * label_map.voxel_ml, 4) for v in np.flatnonzero(counts) if v > 0}


def check_case(case: Case, known_values: Iterable[int] = KNOWN_VALUES) -> CaseReport:
    """Read image and label map of one case and report all that is wrong; never raises for bad data."""
    findings: list[Finding] = []
    volume: Volume | None = None
    label_map: LabelMap | None = None
    volumes: dict[int, float] | None = None

    def note(event: Event) -> None:
        if isinstance(event, Warn):
            findings.append(_warning("thick_slices", event.message))

    try:
        volume = read_volume(case.image, on_event=note)
        findings += _check_spacing(volume)
    except HlfdError as error:
        findings.append(_error(f"image_{error.code}", str(error)))
    if case.label is None:
        findings.append(_error("label_missing_input", "The case has no label map."))
    else:
        try:
            label_map = read_label_map(case.label)
            volumes = _volumes(label_map)
            findings += _check_labels(volumes, known_values)
        except HlfdError as error:
            findings.append(_error(f"label_{error.code}", str(error)))
    if volume is not None and label_map is not None and not volume.same_grid(label_map, 0.1):
        findings.append(
            _error("geometry_mismatch", f"Image {volume.shape} and label map {label_map.shape} differ in their grid.")
        )
    return CaseReport(
        case.id,
        case.image,
        case.label,
        tuple(findings),
        volume.shape if volume else None,
        volume.spacing if volume else None,
        (float(volume.array.min()), float(volume.array.max())) if volume else None,
        volumes,
    )


def check_dataset(
    dataset: Path | str, known_values: Iterable[int] = KNOWN_VALUES, on_event: OnEvent = ignore
) -> list[CaseReport]:
    """Check every case of a data set (``find_cases``) and go on after bad ones; emits ``Progress`` in cases.

    Raises ``InputError`` only where the data set itself cannot be found or listed.
    """
    cases = find_cases(dataset)
    known = tuple(known_values)
    reports = []
    for done, case in enumerate(cases, 1):
        reports.append(check_case(case, known))
        on_event(Progress(done, len(cases)))
    return reports
