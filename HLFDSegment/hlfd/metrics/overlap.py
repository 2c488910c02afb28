"""Overlap and volume of two masks, from three counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """Voxels in the prediction, in the reference, and in both."""

    pred: int
    ref: int
    both: int

    @classmethod
    def of(cls, pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> Counts:
        """Count two masks of one shape."""
        count = np.count_nonzero
        return cls(int(count(pred)), int(count(ref)), int(count(pred & ref)))

    @property
    def empty(self) -> bool:
        """Whether both masks are empty."""
        return self.pred + self.ref == 0


def dice(counts: Counts) -> float:
    """Return 2 |P and G| / (|P| + |G|); two empty masks agree and give 1."""
    return 1.0 if counts.empty else 2 * counts.both / (counts.pred + counts.ref)


def volume_overlap_error(counts: Counts) -> float:
    """Return 1 - |P and G| / |P or G| (VOE of LiTS); two empty masks give 0."""
    return 0.0 if counts.empty else 1 - counts.both / (counts.pred + counts.ref - counts.both)


def relative_volume_difference(counts: Counts) -> float | None:
    """Return (|P| - |G|) / |G|; two empty masks give 0, an empty reference alone gives None."""
    if counts.ref == 0:
        return 0.0 if counts.empty else None
    return (counts.pred - counts.ref) / counts.ref


def slice_dice(pred: NDArray[np.bool_], ref: NDArray[np.bool_], axis: int = 0) -> float | None:
    """Return the mean of the Dice of each slice along ``axis`` that holds reference voxels; None if none does.

    The figure of 2-D methods (HLFD, arXiv 2311.16700; EMKD, arXiv 2108.09987). It ignores false positives in all other
    slices, so it is not comparable with Dice per volume.
    """
    others = tuple(a for a in range(3) if a != axis)
    in_ref = np.count_nonzero(ref, axis=others)
    used = in_ref > 0
    if not used.any():
        return None
    both = np.count_nonzero(pred & ref, axis=others)
    return float(np.mean(2 * both[used] / (np.count_nonzero(pred, axis=others) + in_ref)[used]))
