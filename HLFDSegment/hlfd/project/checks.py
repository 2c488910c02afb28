"""What must be right with an image and its labels before they become a case."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import DuplicateCaseError, EmptyInputError, InputError
from hlfd.io.hounsfield import HU_AIR, check_hounsfield, count_labels
from hlfd.labels import Label
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
from hlfd.preprocess.orientation import find_orientation
from hlfd.project.placing import onto_grid
from hlfd.volume import LabelMap, Volume

if TYPE_CHECKING:
    from hlfd.project.project import Project

_AIR_HU = -200
_AIR_SHARE = 0.5
_SLAB = 32
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class CheckedPair:
    """An image as it is stored, labels (k, j, i) on its grid, ml per label name, and the checksum of its voxels."""

    volume: Volume
    labels: NDArray[np.uint8]
    volumes_ml: dict[str, float]
    voxels: str


def check_pair(volume: Volume, labels: LabelMap, project: Project, drawn_on_image: bool = False) -> CheckedPair:
    """Return the pair ready to be stored, or raise the ``InputError`` that says why it cannot be a case.

    ``labels`` holds values of ``project.labels``, on any grid that ``onto_grid`` accepts. Refused are: values that the
    project does not know, no labels at all, labels outside of the image, on another image's grid or in air, images
    that are not CT, and images that are in the project already (``DuplicateCaseError``).
    """
    check_hounsfield(volume.array)
    stored = as_stored(volume)
    array, volumes_ml = check_labels(stored, labels, project.labels, drawn_on_image)
    voxels = voxel_checksum(stored)
    known = project.known(voxels)
    if known is not None:
        raise DuplicateCaseError(
            f'This image is in the project already, as "{known.caption}" ({known.id}).',
            "Update that case with the new labels instead.",
        )
    return CheckedPair(stored, array, volumes_ml, voxels)


def check_labels(
    volume: Volume, labels: LabelMap, table: tuple[Label, ...], drawn_on_image: bool = False
) -> tuple[NDArray[np.uint8], dict[str, float]]:
    """Return the labels on the grid of ``volume`` and ml per label name that is present; raises like ``check_pair``."""
    counts = count_labels(labels.array)
    names = {label.value: label.name for label in table}
    unknown = [int(value) for value in np.flatnonzero(counts) if value and value not in names]
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in names.items())
        raise InputError(
            f"The label map holds the values {unknown}, which the project does not know; it knows {known}.",
            "Say which label each value stands for.",
        )
    array = onto_grid(labels, volume, drawn_on_image)
    low, high = index_box(array)
    if low == high:  # resampling may lose what is smaller than a voxel
        raise EmptyInputError("No label is left on the grid of the image.", "Draw the structures on the image itself.")
    inside = array[box_slices(low, high)]
    _check_not_in_air(volume.array[box_slices(low, high)], inside, names)
    counts = count_labels(inside)
    volumes = {name: round(float(counts[value]) * volume.voxel_ml, 6) for value, name in names.items() if counts[value]}
    return array, volumes


def _check_not_in_air(image: NDArray[np.int16], labels: NDArray[np.uint8], names: dict[int, str]) -> None:
    """Raise for a label that lies mostly in air or lung: drawn on another patient, or moved."""
    counts, in_air = count_labels(labels), count_labels(np.where(image < _AIR_HU, labels, np.uint8(0)))
    for value, name in names.items():
        if counts[value] and in_air[value] > _AIR_SHARE * counts[value]:
            raise InputError(
                f'{in_air[value] / counts[value]:.0%} of the label "{name}" lies in air, below {_AIR_HU} HU.',
                "Check that the labels were drawn on this image.",
            )


def as_stored(volume: Volume) -> Volume:
    """Return the image as whole HU in int16, at least -1024: fractions of a HU are far below the noise of a CT."""
    array = volume.array
    if array.dtype != np.int16:
        array = np.rint(np.clip(array, HU_AIR, _INT16.max)).astype(np.int16)
    return Volume(np.maximum(array, np.int16(HU_AIR)), volume.affine, volume.name)


def voxel_checksum(volume: Volume) -> str:
    """Return the SHA-256 of an image as stored, seen along the patient's axes.

    Files of one scan whose axes are flipped or in another order have one checksum.
    """
    orientation, _ = find_orientation(volume.affine, volume.shape)
    view = orientation.view(volume.array)
    digest = hashlib.sha256(repr(view.shape).encode())
    for begin in range(0, len(view), _SLAB):
        digest.update(np.ascontiguousarray(view[begin : begin + _SLAB], "<i2").data)
    return digest.hexdigest()
