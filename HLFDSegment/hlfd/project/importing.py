"""Bringing the cases of a data set in a known layout into a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hlfd.data.check import CaseReport, check_case
from hlfd.data.layouts import Case, find_cases
from hlfd.errors import DiskFullError, GeometryError, InputError, UsageError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Stage, Warn, ignore
from hlfd.io import read_label_map, read_volume
from hlfd.io.hounsfield import count_labels
from hlfd.project.placing import SAME_MM
from hlfd.volume import LabelMap

if TYPE_CHECKING:
    from hlfd.project.case import CaseInfo
    from hlfd.project.project import Project


def import_folder(
    project: Project,
    folder: Path,
    values: Mapping[int, str] | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> tuple[list[CaseInfo], dict[str, str]]:
    """See ``Project.import_folder``; a full disk ends it, and what was added before stays."""
    _table(project, values)  # a wrong name is said before the first case
    added: list[CaseInfo] = []
    refused: dict[str, str] = {}
    cases = _cases(project, folder)
    clock = ProgressClock(len(cases), on_event, cancel)
    for case in cases:
        on_event(Stage(case.id))
        try:
            if case.label is None:
                raise InputError("The case has no label map.", "Label it in Slicer, and add it there.")
            source = {"kind": "import", "data_set": folder.name, "case": case.id}
            added.append(add_files(project, case.image, case.label, values, case.id, source, cancel=cancel))
        except (DiskFullError, UsageError):
            raise
        except InputError as error:
            refused[case.id] = str(error)
            on_event(Warn(f"{case.id}: {error}"))
        clock.advance()
    return added, refused


def check_import(
    project: Project, folder: Path, values: Mapping[int, str] | None = None, on_event: OnEvent = ignore
) -> list[CaseReport]:
    """See ``Project.check_import``: what ``check_case`` finds."""
    known = _known(project, values)
    cases = _cases(project, folder)
    clock = ProgressClock(len(cases), on_event)
    reports = []
    for case in cases:
        reports.append(check_case(case, known))
        clock.advance()
    return reports


def _cases(project: Project, folder: Path) -> list[Case]:
    if folder.expanduser().resolve() == project.folder:
        raise UsageError("The data set is the project itself.", "Choose another folder to import.")
    return find_cases(folder)


def _known(project: Project, values: Mapping[int, str] | None) -> list[int]:
    return [label.value for label in project.labels] if values is None else [int(value) for value in values]


def _table(project: Project, values: Mapping[int, str] | None) -> Mapping[int, int] | None:
    """Return the project's value of each value of the label maps, 0 for background; None where they are the same."""
    if values is None:
        return None
    return {int(value): project.value_of(name) if name else 0 for value, name in values.items()}


def add_files(
    project: Project,
    image: Path,
    label: Path,
    values: Mapping[int, str] | None = None,
    title: str = "",
    source: Mapping[str, str] | None = None,
    role: str = "train",
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> CaseInfo:
    """Add an image and a label map that lie in files; the label map must cover the image's whole grid.

    ``values`` as for ``Project.import_folder``. Raises like ``read_volume``, ``read_label_map`` and ``Project.add``.
    """
    table = _table(project, values)
    volume, labels = read_volume(image, on_event=on_event), read_label_map(label)
    if not volume.same_grid(labels, SAME_MM):  # files cover the whole image; a part of it is a mistake
        raise GeometryError(
            f"Image {volume.shape} and label map {labels.shape} differ in their grid.",
            "Give the label map of this very image, or resample it onto the image first.",
        )
    return project.add(volume, _renamed(labels, table), title, source, on_event, cancel, role)


def _renamed(labels: LabelMap, table: Mapping[int, int] | None) -> LabelMap:
    """Return the label map with the project's values; raise ``InputError`` for values that the table lacks."""
    if table is None:
        return LabelMap(labels.array, labels.affine)
    unknown = [int(value) for value in np.flatnonzero(count_labels(labels.array)) if value and value not in table]
    if unknown:
        raise InputError(
            f"The label map holds the values {unknown}; a label was given for {sorted(table)}.",
            "Say which label each value stands for.",
        )
    lookup = np.zeros(256, np.uint8)
    for value, own in table.items():
        lookup[value] = own
    return LabelMap(lookup[labels.array], labels.affine)
