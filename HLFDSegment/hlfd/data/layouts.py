"""Find the cases of a data set: KiTS, LiTS, Medical Segmentation Decathlon, nnU-Net raw, a CSV, or our project."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hlfd.errors import EmptyInputError, InputError, MissingInputError
from hlfd.io.raw import SUFFIXES


@dataclass(frozen=True)
class Case:
    """One case: its identifier, image, and label map where there is one. The files need not exist."""

    id: str
    image: Path
    label: Path | None


def _stem(name: str) -> str | None:
    """Return a file name without its image suffix, or None where it is no image."""
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return None


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = ((_stem(path.name), path) for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return {stem: path for stem, path in found if stem is not None}


def _kits(folder: Path) -> list[Case]:
    """KiTS19, KiTS21 and KiTS23: ``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz``."""
    root = folder / "dataset" if (folder / "dataset").is_dir() else folder
    cases = []
    for path in sorted(root.glob("case_*")):
        files = _images(path) if path.is_dir() else {}
        # KiTS21 ships several annotations; "aggregated_MAJ_seg" is the majority vote its challenge was scored on
        label = files.get("segmentation") or files.get("aggregated_MAJ_seg")
        if path.is_dir():
            cases.append(Case(path.name, files.get("imaging", path / "imaging.nii.gz"), label))
    return cases


def _lits(folder: Path) -> list[Case]:
    """LiTS: ``volume-N.nii`` and ``segmentation-N.nii``, in one folder or in batches below it."""
    files = [path for path in sorted(folder.rglob("*-*.nii*")) if _stem(path.name)]
    labels = {match[1]: path for path in files if (match := re.match(r"segmentation-(\d+)\.", path.name))}
    volumes = {match[1]: path for path in files if (match := re.match(r"volume-(\d+)\.", path.name))}
    return [Case(f"volume-{n}", volumes[n], labels.get(n)) for n in sorted(volumes, key=int)]


def _msd(folder: Path) -> list[Case]:
    """Medical Segmentation Decathlon: pairs listed under ``training`` in ``dataset.json``."""
    path = folder / "dataset.json"
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8")).get("training", [])
        pairs = [(str(row["image"]), str(row["label"])) for row in rows if isinstance(row, dict)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'"{path}" is not a valid dataset.json: {error!r}.', "Get the file again.") from error
    if not any((folder / image).exists() for image, _ in pairs):
        return []  # nnU-Net lists names without the channel number that its files carry
    return [Case(_stem(Path(image).name) or image, folder / image, folder / label) for image, label in pairs]


def _nnunet(folder: Path) -> list[Case]:
    """nnU-Net raw: ``imagesTr/x_0000.nii.gz`` with ``labelsTr/x.nii.gz``; also plain names as in MSD."""
    labels = _images(folder / "labelsTr")
    cases = []
    for stem, path in _images(folder / "imagesTr").items():
        channel = re.fullmatch(r"(.+)_(\d{4})", stem)
        if channel and stem not in labels:
            if channel[2] == "0000":  # further channels belong to the same case
                cases.append(Case(channel[1], path, labels.get(channel[1])))
        else:
            cases.append(Case(stem, path, labels.get(stem)))
    return cases


def _csv(path: Path) -> list[Case]:
    """A CSV with the columns ``image`` and ``label`` (and optionally ``id``); paths relative to the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if "image" not in (reader.fieldnames or []):
                raise InputError(
                    f'"{path}" has the columns {reader.fieldnames}; "image" and "label" were expected.',
                    "Name the columns in the first line.",
                )
            rows = [row for row in reader if row.get("image")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'"{path}" cannot be read as CSV: {error}.', "Save it as UTF-8 text.") from error
    cases = []
    for row in rows:
        image = path.parent / row["image"].strip()
        label = (row.get("label") or "").strip()
        name = (row.get("id") or "").strip() or _stem(image.name) or image.name
        cases.append(Case(name, image, path.parent / label if label else None))
    return cases


def _project(folder: Path) -> list[Case]:
    """A folder of ``hlfd.project``: all cases that are used for something."""
    from hlfd.project.project import PROJECT_FILE, Project

    if not (folder / PROJECT_FILE).is_file():
        return []
    return [Case(case.id, case.image, case.label) for case in Project.open(folder).cases if case.role != "unused"]


LAYOUTS: dict[str, Callable[[Path], list[Case]]] = {
    "project": _project,
    "kits": _kits,
    "lits": _lits,
    "msd": _msd,
    "nnunet": _nnunet,
}


def find_cases(dataset: Path | str) -> list[Case]:
    """Return the cases of a folder in one of ``LAYOUTS``, or of a CSV file of image,label pairs.

    Raises ``MissingInputError`` where the path is not there, ``EmptyInputError`` where no layout fits, and
    ``InputError`` for a CSV or dataset.json that cannot be read.
    """
    dataset = Path(dataset)
    if not dataset.exists():
        raise MissingInputError(f'"{dataset}" does not exist.', "Check the path.")
    if dataset.is_file():
        return _csv(dataset)
    for layout in LAYOUTS.values():
        if cases := layout(dataset):
            return cases
    raise EmptyInputError(
        f'"{dataset}" holds no cases of a known layout ({", ".join(LAYOUTS)}, or a CSV file).',
        "Give the folder that holds the cases, or a CSV file with the columns image and label.",
    )
