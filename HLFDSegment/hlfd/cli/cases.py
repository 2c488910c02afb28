"""What ``segment IN OUT`` is asked to do: one image, one DICOM series, or a folder of many cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hlfd.errors import EmptyInputError, InputError, MissingInputError, UsageError
from hlfd.io.raw import SUFFIXES, is_dicom, stem_of, suffix_of

_LABEL_WORDS = ("segmentation", "label", "labels", "seg", "mask", "aggregated_mc_seg", "results")
_DICOM_LOOKS = 20  # files of a folder that are looked into before it is called no DICOM folder


@dataclass(frozen=True)
class Case:
    """One image to segment: its name, where it is read from, and where its label map goes."""

    name: str
    source: Path
    target: Path


@dataclass(frozen=True)
class Job:
    """The cases to do; ``folder`` is where the table goes when IN is a folder of many, else None."""

    cases: tuple[Case, ...]
    folder: Path | None


def plan(source: Path, target: Path, suffix: str = ".nii.gz") -> Job:
    """Return the cases of IN and OUT.

    A file, or a folder that holds a DICOM series, is one case; OUT is then a file, or a folder for it. Any other folder
    holds many: image files directly in it, and sub-folders that hold an image (as in KiTS) or a DICOM series.
    Raises ``InputError`` when there is nothing to segment and ``UsageError`` when OUT does not fit.
    """
    if not source.exists():
        raise MissingInputError(f'"{source}" does not exist.', "Check the path.")
    found = [] if source.is_file() or holds_dicom(source) else find_cases(source)
    if source.is_file() or holds_dicom(source) or (len(found) == 1 and is_image_name(target)):
        name, image = found[0] if found else (case_name(source), source)
        if not is_image_name(target):
            _refuse_file(target)
            target = target / f"{name}{suffix}"
        if target.exists() and source.is_file() and target.samefile(source):
            raise UsageError(f'OUT is the image itself: "{target}".', "Choose another name for the label map.")
        return Job((Case(name, image, target),), None)
    if is_image_name(target):
        raise UsageError(
            f'"{source}" holds {len(found)} cases, but OUT "{target}" names one file.', "Name a folder as OUT."
        )
    _refuse_file(target)
    if target.exists() and target.samefile(source):
        raise UsageError("OUT is the folder of the images itself.", "Choose another folder for the label maps.")
    return Job(tuple(Case(name, image, target / f"{name}{suffix}") for name, image in found), target)


def _refuse_file(target: Path) -> None:
    if target.is_file():
        raise UsageError(f'OUT "{target}" is a file without an image suffix.', f"Use one of {', '.join(SUFFIXES)}.")


def is_image_name(path: Path) -> bool:
    """Return whether the name ends like an image file that can be read and written."""
    return path.name.lower().endswith(SUFFIXES) and not path.is_dir()


def case_name(path: Path) -> str:
    """Return the name of a case: the file name without suffix, or the folder's name."""
    if path.is_dir():
        return path.resolve().name or "case"
    return stem_of(path) if is_image_name(path) else path.stem


def holds_dicom(folder: Path) -> bool:
    """Return whether files directly in ``folder`` are DICOM and none is an image of another format."""
    files = [path for path in _visible(folder) if path.is_file()]
    if any(is_image_name(path) for path in files):
        return False
    likely_first = sorted(files, key=lambda path: path.suffix.lower() not in (".dcm", ".ima", ""))
    return any(_starts_as_dicom(path) for path in likely_first[:_DICOM_LOOKS])


def _starts_as_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except InputError:
        return False


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f'The folder "{folder}" cannot be read: {error.strerror}.') from error


def find_cases(folder: Path) -> list[tuple[str, Path]]:
    """Return (name, path) of the cases in a folder of many; raise ``EmptyInputError`` when there is none."""
    found = []
    for path in _visible(folder):
        if path.is_dir():
            found += _cases_of_subfolder(path)
        elif is_image_name(path) and not _is_label_name(path):
            found.append((stem_of(path), path))
    if not found:
        raise EmptyInputError(
            f'The folder "{folder}" holds no image ({", ".join(SUFFIXES)}) and no DICOM series.', "Check the path."
        )
    return _with_unique_names(found)


def _cases_of_subfolder(folder: Path) -> list[tuple[str, Path]]:
    images = [path for path in _visible(folder) if path.is_file() and is_image_name(path) and not _is_label_name(path)]
    named = [path for path in images if stem_of(path).lower() in ("imaging", "ct", "image")]
    if named or len(images) == 1:
        return [(folder.name, (named or images)[0])]
    if images:
        return [(f"{folder.name}_{stem_of(path)}", path) for path in images]
    if holds_dicom(folder):
        return [(folder.name, folder)]
    series = [path for path in _visible(folder) if path.is_dir() and holds_dicom(path)]
    return [(folder.name if len(series) == 1 else f"{folder.name}_{path.name}", path) for path in series]


def _is_label_name(path: Path) -> bool:
    return suffix_of(path) == ".seg.nrrd" or stem_of(path).lower() in _LABEL_WORDS


def _with_unique_names(found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Tell apart cases of one name, such as a.nii.gz and a.mha, by their format."""
    names = [name.lower() for name, _ in found]
    return [
        (name if names.count(name.lower()) == 1 else f"{name}_{path.suffix.lstrip('.') or 'dicom'}", path)
        for name, path in found
    ]
