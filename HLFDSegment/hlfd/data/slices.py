"""Axial slices of labelled cases, the data of the papers' two-dimensional networks.

Sources: the slice data sets of Gorade et al., ISBI 2024, arXiv 2311.16700, and Qin et al., IEEE TMI 2021, arXiv
2108.09987: slices of 512 x 512 that hold tumor, one HU window, flips and quarter turns, a fixed crop.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hlfd.data.layouts import Case
from hlfd.errors import ConfigError, EmptyInputError, InputError
from hlfd.events import OnEvent, ignore
from hlfd.files import write_array, write_text
from hlfd.io.read import read_label_map, read_volume
from hlfd.preprocess.intensity import window_channels
from hlfd.preprocess.orientation import canonical
from hlfd.training.cases import check_same_grid
from hlfd.training.source import Sample

_LAYOUT = 1  # raise it when the kept arrays change their meaning


@dataclass(frozen=True)
class SliceSettings:
    """What a slice looks like to a network, and what is looked for in it."""

    windows: tuple[tuple[float, float], ...]
    """HU windows, one input channel each, mapped to -1..1 and clipped."""
    target: tuple[str, ...] = ("tumor",)
    """Names of labels that make the target together; all else is background."""
    size: tuple[int, int] = (512, 512)
    """Rows and columns; slices of another size are resized, linearly and their labels to the nearest."""
    crop_start: tuple[int, int] = (50, 60)
    """First row and column of what the networks see of a slice."""
    crop: tuple[int, int] = (384, 384)
    """Rows and columns that the networks see."""
    threshold: float = 0.5
    """Probability above which a pixel is target when a network is scored."""
    flips: bool = True
    """Whether training slices are mirrored at random, along rows and along columns."""
    turns: bool = True
    """Whether training slices are turned by a random number of quarters."""

    def __post_init__(self) -> None:
        if not self.windows or any(low >= high for low, high in self.windows):
            raise ConfigError(f"windows is {self.windows}; pairs (low, high) of HU with low < high were expected.")
        if not self.target:
            raise ConfigError("target is empty; the name of at least one label was expected.")
        ends = [start + length for start, length in zip(self.crop_start, self.crop)]
        if min(self.crop_start) < 0 or min(self.crop) < 1 or any(e > n for e, n in zip(ends, self.size)):
            raise ConfigError(
                f"The crop from {self.crop_start} of {self.crop} leaves the slice of {self.size}.",
                "Set crop_start and crop so that their sums are at most size.",
            )
        if self.turns and self.size[0] != self.size[1]:
            raise ConfigError(f"size is {self.size}; quarter turns need square slices.", "Set turns: false.")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold is {self.threshold}; a probability between 0 and 1 was expected.")

    def cropped(self, array: NDArray) -> NDArray:
        """Return the crop of (..., rows, columns)."""
        (row, column), (height, width) = self.crop_start, self.crop
        return array[..., row : row + height, column : column + width]


@dataclass(frozen=True)
class SliceCase:
    """The slices of one case: HU int16 and label values uint8, both (slices, rows, columns), mapped into memory.

    Slices run from inferior to superior, rows from anterior to posterior, columns from the right of the patient to the
    left, as images are shown. ``present`` lists, per label value, the slices that hold it.
    """

    name: str
    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    present: dict[int, tuple[int, ...]]
    voxel_ml: float
    """Volume of one pixel of a slice in ml."""

    def slices_with(self, values: Collection[int]) -> list[int]:
        """Return the slices that hold any of the label values."""
        return sorted({index for value in values for index in self.present.get(value, ())})


def keep_slices(
    case: Case,
    folder: Path,
    size: tuple[int, int],
    known_values: Collection[int] | None = None,
    on_event: OnEvent = ignore,
) -> SliceCase:
    """Cut a labelled case into slices of ``size``, keep them in ``folder`` and return them.

    Slices that are there already, from unchanged files, are not cut again. Raises ``EmptyInputError`` without labels,
    ``InputError`` for a label value that is not known, ``GeometryError`` where image and label map do not fit, and
    what the readers raise.
    """
    if case.label is None:
        raise EmptyInputError(f'The case "{case.id}" has no label map.', "Leave it out of the training list.")
    key = {"layout": _LAYOUT, "size": list(size), "files": [_fingerprint(case.image), _fingerprint(case.label)]}
    if _kept(folder) == key:
        return open_slices(folder)
    label_map = read_label_map(case.label)
    volume = read_volume(case.image, on_event=on_event)
    check_same_grid(volume, label_map, case.id)
    seen = canonical(volume)
    image = _resized(_as_shown(seen.array), size, "bilinear", np.int16)
    label = _resized(_as_shown(seen.orientation.view(label_map.array)), size, "nearest", np.uint8)
    present = _present(label)
    _check_values(present, known_values, case.id)
    (folder / "case.json").unlink(missing_ok=True)
    for name, array in (("image", image), ("label", label)):
        write_array(folder / f"{name}.npy", array)
    shrunk = np.prod(seen.array.shape[1:]) / np.prod(size)
    facts = {"key": key, "present": present, "voxel_ml": float(np.prod(seen.spacing) * shrunk / 1000)}
    # Written last: its presence says that the case is complete.
    write_text(folder / "case.json", json.dumps(facts))
    return open_slices(folder)


def open_slices(folder: Path) -> SliceCase:
    """Open the slices of a case, mapped into memory; raise ``ConfigError`` where they are not kept yet."""
    try:
        facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        image, label = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label"))
    except (OSError, ValueError) as error:
        raise ConfigError(f'The slices in "{folder}" are not complete.', "Run the stage prepare first.") from error
    present = {int(value): tuple(indices) for value, indices in facts["present"].items()}
    return SliceCase(folder.name, image, label, present, facts["voxel_ml"])


def _kept(folder: Path) -> Any:
    try:
        return json.loads((folder / "case.json").read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError):
        return None


def _fingerprint(path: Path) -> list[Any]:
    if not path.is_file():  # a DICOM folder, or a missing file that the reader will report
        return [str(path.resolve())]
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _as_shown(array: NDArray) -> NDArray:
    """Turn a (z, y, x) view towards superior, anterior, right into slices as images are shown."""
    return array[:, ::-1, ::-1]


def _resized(array: NDArray, size: tuple[int, int], mode: str, kind: type[np.integer]) -> NDArray:
    """Return slices at ``size``, rounded to the integers of ``kind``; one after the other to save memory."""
    limits = np.iinfo(kind)
    result = np.empty((len(array), *size), kind)
    for target, one in zip(result, array):
        if one.shape != tuple(size):
            slice_ = torch.from_numpy(one.astype(np.float32))[None, None]
            corners = {"align_corners": False} if mode == "bilinear" else {}
            one = functional.interpolate(slice_, size=tuple(size), mode=mode, **corners)[0, 0].numpy()
        target[:] = np.clip(np.rint(one), limits.min, limits.max)
    return result


def _present(label: NDArray[np.uint8]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for index, one in enumerate(label):
        for value in np.flatnonzero(np.bincount(one.reshape(-1), minlength=256)[1:]) + 1:
            found.setdefault(int(value), []).append(index)
    return found


def _check_values(present: dict[int, list[int]], known: Collection[int] | None, name: str) -> None:
    if not present:
        raise EmptyInputError(f"{name}: the label map holds background only.", "Correct it, or leave the case out.")
    unknown = sorted(set(present) - set(known)) if known is not None else []
    if unknown:
        raise InputError(
            f"{name}: the label map has the values {unknown}; {sorted(known or ())} are known.",
            "Name them under label_values, or correct the label map.",
        )


class SliceSource:
    """An endless ``PatchSource`` over all slices that hold the target, once each per epoch in a new order.

    ``values`` are the label values of the target. ``sample(index)`` is a pure function of the seed and the index:
    ``index // len(source)`` is the epoch. Raises ``EmptyInputError`` where no slice holds the target.
    """

    def __init__(
        self, cases: Sequence[SliceCase], settings: SliceSettings, values: Collection[int], seed: int = 0
    ) -> None:
        self._cases, self._settings, self._seed = list(cases), settings, seed
        self._values = sorted(values)
        self._places = [(n, index) for n, case in enumerate(cases) for index in case.slices_with(values)]
        if not self._places:
            raise EmptyInputError(
                f"None of the {len(self._cases)} cases holds {' or '.join(settings.target)}.",
                "Check target and label_values, and the cases with: hlfd check.",
            )
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        """Slices per epoch."""
        return len(self._places)

    def sample(self, index: int) -> Sample:
        """Return ``image`` (windows, rows, columns) float32 and ``label`` (rows, columns) uint8, 1 for the target."""
        epoch, place = divmod(index, len(self))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self)))
        number, slice_ = self._places[int(self._order[1][place])]
        case, rng = self._cases[number], np.random.default_rng([self._seed, epoch, place])
        image, label = varied((case.image[slice_], case.label[slice_]), self._settings, rng)
        return to_sample(image, label, self._settings, self._values)


def varied(arrays: Sequence[NDArray], settings: SliceSettings, rng: np.random.Generator) -> list[NDArray]:
    """Mirror and turn arrays (rows, columns) alike, as ``settings`` allow."""
    rows, columns = rng.choice([1, -1], 2) if settings.flips else (1, 1)
    turns = int(rng.integers(4)) if settings.turns else 0
    return [np.rot90(array[::rows, ::columns], turns) for array in arrays]


def to_sample(image: NDArray, label: NDArray, settings: SliceSettings, values: Collection[int]) -> Sample:
    """Return the crop of one slice as the networks see it, with its target as 1."""
    channels = window_channels(settings.cropped(image).astype(np.float32), settings.windows)[0]
    target = np.isin(settings.cropped(label), list(values)).astype(np.uint8)
    return {"image": torch.from_numpy(channels), "label": torch.from_numpy(target)}
