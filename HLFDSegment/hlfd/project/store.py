"""Writing cases so that each is whole or not there: made in a hidden folder, synced, then renamed in one step."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import DiskFullError
from hlfd.events import ProgressClock
from hlfd.files import output_error, sync_folder, write_json
from hlfd.io import write_label_map, write_volume
from hlfd.jobs.process import is_running
from hlfd.labels import Label
from hlfd.models.package import file_sha256
from hlfd.project.case import CASE_FILE, CaseInfo
from hlfd.project.checks import CheckedPair
from hlfd.project.thumbnail import write_thumbnail
from hlfd.volume import LabelMap, Volume

CASES, REMOVED = "cases", "removed"
# not compressed: gzip at its lowest level halves a CT, and takes ten times as long to write it
IMAGE, LABEL, THUMBNAIL = "image.nii", "label{}.nii.gz", "thumbnail{}.png"
STEPS = 4
"""What ``write_case`` advances its clock by."""
_STAGED = re.compile(r"\.adding-(\d+)-\w+")
_NUMBERED = re.compile(r"case-(\d+)")
_REVISED = re.compile(r"(?:label|thumbnail)(?:-(\d+))?\.(?:nii\.gz|png)")
_SPARE_BYTES = 1 << 22


def now() -> str:
    """Return the time as case.json holds it: UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_case(
    project: Path, pair: CheckedPair, table: Sequence[Label], info: CaseInfo, clock: ProgressClock
) -> CaseInfo:
    """Write the files of a new case and return it with its id, paths and checksums.

    ``info`` holds what is known before; it gets the next free id. A failure leaves nothing behind. Raises
    ``DiskFullError``, ``OutputError`` or ``CancelledError``.
    """
    cases = project / CASES
    staged: Path | None = None
    try:
        cases.mkdir(parents=True, exist_ok=True)
        _check_space(cases, pair.volume.array.nbytes)
        staged = cases / f".adding-{os.getpid()}-{uuid.uuid4().hex}"
        staged.mkdir()
        write_volume(pair.volume, staged / IMAGE)
        clock.advance()
        checksums = {"voxels": pair.voxels, "image": file_sha256(staged / IMAGE)}
        clock.advance()
        info = _write_labels(staged, pair.volume, pair.labels, table, replace(info, checksums=checksums), 1)
        clock.advance()
        return _commit(staged, project, replace(info, image=staged / IMAGE), clock)
    except OSError as error:
        raise output_error(cases, error) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def write_labels(
    folder: Path, volume: Volume, labels: NDArray[np.uint8], table: Sequence[Label], info: CaseInfo
) -> CaseInfo:
    """Give a case other labels beside the old ones, make them count by a new case.json, and return the case.

    The labels before the old ones are removed; the old ones stay, for whoever reads them at this moment.
    """
    before = _revision(info.label.name)
    try:
        _check_space(folder, labels.nbytes // 8)
        info = _write_labels(folder, volume, labels, table, replace(info, updated=now()), before + 1)
        write_info(folder, info)
        for path in folder.iterdir():
            if _REVISED.fullmatch(path.name) and _revision(path.name) not in (before, before + 1):
                with suppress(OSError):  # read by someone, on Windows
                    path.unlink()
    except OSError as error:
        raise output_error(folder, error) from error
    return info


def write_info(folder: Path, info: CaseInfo) -> None:
    """Write case.json: from then on the files that it names are the case."""
    write_json(folder / CASE_FILE, info.to_dict())


def move_out(project: Path, case_id: str) -> Path:
    """Move the folder of a case to ``removed`` and return where it is."""
    target = project / REMOVED / case_id
    try:
        target.parent.mkdir(exist_ok=True)
        os.rename(project / CASES / case_id, target)
        sync_folder(target.parent)
        sync_folder(project / CASES)
    except OSError as error:
        raise output_error(target, error) from error
    return target


def changed_files(info: CaseInfo) -> list[str]:
    """Return the names of the files of a case that are not as they were written."""
    files = {"image": info.image, "label": info.label}
    return [path.name for name, path in files.items() if file_sha256(path) != info.checksums.get(name)]


def sweep(project: Path) -> None:
    """Remove what killed processes left behind of cases that they had begun."""
    for folder in (project / CASES).glob(".adding-*"):
        named = _STAGED.fullmatch(folder.name)
        if named and not is_running(int(named[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _write_labels(
    folder: Path, volume: Volume, labels: NDArray[np.uint8], table: Sequence[Label], info: CaseInfo, revision: int
) -> CaseInfo:
    suffix = f"-{revision}" if revision > 1 else ""
    label, thumbnail = folder / LABEL.format(suffix), folder / THUMBNAIL.format(suffix)
    write_label_map(LabelMap(labels, volume.affine, tuple(table)), label)
    write_thumbnail(volume, labels, table, thumbnail)
    return replace(info, label=label, thumbnail=thumbnail, checksums={**info.checksums, "label": file_sha256(label)})


def _commit(staged: Path, project: Path, info: CaseInfo, clock: ProgressClock) -> CaseInfo:
    number = 1 + max([0, *_numbers(project / CASES), *_numbers(project / REMOVED)])
    while True:
        case_id = f"case-{number:04d}"
        folder = project / CASES / case_id
        done = replace(
            info,
            id=case_id,
            **{name: folder / getattr(info, name).name for name in ("image", "label", "thumbnail")},
        )
        write_info(staged, done)
        sync_folder(staged)
        clock.advance()  # the last moment at which it can be cancelled
        try:
            os.rename(staged, folder)
        except OSError:
            if not folder.exists():
                raise
            number += 1  # another process was quicker
            continue
        sync_folder(folder.parent)
        return done


def _numbers(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))]


def _revision(name: str) -> int:
    match = _REVISED.fullmatch(name)
    return int(match[1] or 1) if match else 1


def _check_space(folder: Path, size: int) -> None:
    """Raise before anything is written where it cannot fit."""
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE_BYTES:
        raise DiskFullError(
            f'A case of {size / 2**20:.0f} MB does not fit on the disk of "{folder}": {free / 2**20:.0f} MB are free.',
            "Free some space, or make the project on another disk.",
        )
