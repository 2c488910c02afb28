"""Labelled cases brought to the working grid once and kept on disk, so that patches are read in milliseconds.

Arrays are kept as .npy files that are mapped into memory: a patch reads only its own part, and all worker processes
share one copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.data.layouts import Case
from hlfd.errors import EmptyInputError, GeometryError, InputError
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.files import write_array, write_text
from hlfd.io.hounsfield import count_labels
from hlfd.io.read import read_label_map, read_volume
from hlfd.preprocess.frame import make_frame, sitk_image
from hlfd.preprocess.grid import Grid, grid_over
from hlfd.preprocess.orientation import Canonical, canonical
from hlfd.volume import LabelMap, Volume

_POINTS_PER_LABEL = 2000
_LAYOUT = 1  # raise it when the cached arrays change their meaning


@dataclass(frozen=True)
class CachedCase:
    """One case on the working grid: HU int16 and label values uint8, both (z, y, x) towards superior, anterior, right.

    ``points`` holds, per label value present, up to 2000 voxel indices (n, 3) of it. ``source`` names what the arrays
    were made from: files with their size and date, and the spacing.
    """

    name: str
    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    points: dict[int, NDArray[np.int64]]
    source: tuple[str, ...] = ()


def check_same_grid(volume: Volume, label_map: LabelMap, name: str) -> None:
    """Raise ``GeometryError`` unless image and label map lie on one grid (0.1 mm at the corners)."""
    if not volume.same_grid(label_map, tolerance_mm=0.1):
        raise GeometryError(
            f"{name}: image {volume.shape} and label map {label_map.shape} do not lie on one grid.",
            "Resample the label map to the image, and export both with the same geometry.",
        )


def _label_on_grid(label_map: LabelMap, seen: Canonical, grid: Grid) -> NDArray[np.uint8]:
    """Return the nearest label value of every voxel of ``grid``; 0 outside."""
    array = seen.orientation.view(label_map.array)
    if not seen.aligned:
        return _oblique_label_on_grid(array, seen, grid)
    axes = []
    for size, step, start, count, out_step in zip(array.shape, seen.spacing, grid.start, grid.shape, grid.spacing):
        index = np.rint((start + out_step * np.arange(count)) / step).astype(np.int64)
        axes.append(np.clip(index, 0, size - 1))
    return np.ascontiguousarray(array[np.ix_(*axes)])


def _oblique_label_on_grid(array: NDArray[np.uint8], seen: Canonical, grid: Grid) -> NDArray[np.uint8]:
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in grid.shape[::-1]])
    resampler.SetOutputOrigin([float(v) for v in grid.start[::-1]])
    resampler.SetOutputSpacing([float(v) for v in grid.spacing[::-1]])
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    image = sitk_image(np.ascontiguousarray(array), seen.affine)
    return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)), np.uint8)


def to_working_grid(
    volume: Volume, label_map: LabelMap, spacing_mm: float, name: str = "case"
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return HU int16 and label values uint8 on an isotropic grid of ``spacing_mm``, as inference sees the volume.

    Both are (z, y, x), towards superior, anterior, right. Raises ``GeometryError`` if the two grids differ.
    """
    check_same_grid(volume, label_map, name)
    seen = canonical(volume)
    frame = make_frame(seen)
    grid = grid_over(frame.box, spacing_mm)
    image = np.rint(frame.sample(grid)).astype(np.int16)
    return image, _label_on_grid(label_map, seen, grid)


def cache_case(volume: Volume, label_map: LabelMap, folder: Path, name: str, spacing_mm: float) -> CachedCase:
    """Bring one case to the working grid and keep it in ``folder``; an earlier one of that name is replaced."""
    return _cache(volume, label_map, Path(folder) / name, {"spacing_mm": spacing_mm})


def _cache(volume: Volume, label_map: LabelMap, folder: Path, key: dict[str, Any]) -> CachedCase:
    (folder / "case.json").unlink(missing_ok=True)
    image, label = to_working_grid(volume, label_map, key["spacing_mm"], folder.name)
    points = _points(label, folder.name)
    for name, array in (("image", image), ("label", label)):
        write_array(folder / f"{name}.npy", array)
    description = {**key, "layout": _LAYOUT, "points": {str(v): p.tolist() for v, p in points.items()}}
    # Written last: its presence says that the case is complete.
    write_text(folder / "case.json", json.dumps(description))
    return open_case(folder)


def _points(label: NDArray[np.uint8], name: str) -> dict[int, NDArray[np.int64]]:
    digest = hashlib.sha256(name.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    points = {}
    for value in np.flatnonzero(np.bincount(label.reshape(-1), minlength=256)[1:]) + 1:
        found = np.argwhere(label == value)
        points[int(value)] = found[rng.permutation(len(found))[:_POINTS_PER_LABEL]]
    return points


def open_case(folder: Path) -> CachedCase:
    """Open a cached case, its arrays mapped into memory."""
    description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    points = {int(value): np.array(rows, np.int64) for value, rows in description["points"].items()}
    image, label = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label"))
    source = tuple(json.dumps(description.get(key)) for key in ("files", "spacing_mm", "layout"))
    return CachedCase(folder.name, image, label, points, source)


def cache_cases(
    cases: Sequence[Case],
    folder: Path,
    spacing_mm: float,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> list[CachedCase]:
    """Read the cases, bring them to the working grid and keep them in ``folder``.

    Cases that are there already, from unchanged files and at the same spacing, are not read again. Raises
    ``EmptyInputError`` for a case without label map, ``GeometryError`` when image and label map do not fit, and what
    ``read_volume`` and ``read_label_map`` raise.
    """
    clock = ProgressClock(len(cases), on_event, cancel)
    cached = []
    for case in cases:
        cached.append(_cache_file_case(case, Path(folder) / case.id, spacing_mm, on_event))
        clock.advance()
    return cached


def _cache_file_case(case: Case, folder: Path, spacing_mm: float, on_event: OnEvent) -> CachedCase:
    return cache_at_spacings(case, {spacing_mm: folder}, on_event=on_event)[0]


def cache_at_spacings(
    case: Case, folders: Mapping[float, Path], known_values: Collection[int] | None = None, on_event: OnEvent = ignore
) -> list[CachedCase]:
    """Bring one case to the working grid of each spacing in mm and keep it in that spacing's folder.

    Its files are read once, and only where a folder lacks them or they have changed. ``known_values`` are the label
    values that may occur besides 0; a map without any label or with another value is refused then. Raises
    ``EmptyInputError``, ``InputError``, ``GeometryError`` and what ``read_volume`` and ``read_label_map`` raise.
    """
    if case.label is None:
        raise EmptyInputError(f'The case "{case.id}" has no label map.', "Leave it out of the training list.")
    files = [_fingerprint(case.image), _fingerprint(case.label)]
    keys = {spacing: {"spacing_mm": spacing, "files": files} for spacing in folders}
    old = [spacing for spacing, folder in folders.items() if not _is_current(folder, keys[spacing])]
    if old:
        label_map = read_label_map(case.label)
        if known_values is not None:
            _check_values(label_map, known_values, case.id)
        volume = read_volume(case.image, on_event=on_event)
        for spacing in old:
            _cache(volume, label_map, folders[spacing], keys[spacing])
    return [open_case(folder) for folder in folders.values()]


def _check_values(label_map: LabelMap, known: Collection[int], name: str) -> None:
    found = [int(value) for value in np.flatnonzero(count_labels(label_map.array)) if value > 0]
    if not found:
        raise EmptyInputError(f"{name}: the label map holds background only.", "Correct it, or leave the case out.")
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise InputError(
            f"{name}: the label map has the values {unknown}; {sorted(known)} are known.",
            "Name them under label_values, or correct the label map.",
        )


def _fingerprint(path: Path) -> list[Any]:
    if not path.is_file():  # a DICOM folder, or a missing file that the reader will report
        return [str(path.resolve())]
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _is_current(folder: Path, key: dict[str, Any]) -> bool:
    try:
        description = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return {name: description.get(name) for name in (*key, "layout")} == {**key, "layout": _LAYOUT}
