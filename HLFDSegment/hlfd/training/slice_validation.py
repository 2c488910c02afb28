"""Scores of a two-dimensional network: per case on whole volumes, and over slices that hold the target, as the papers.

Each figure has its own name. ``dice`` counts every slice of a case. ``slice_dice`` is the mean of the Dice of the
slices that hold the target; ``target_slices_dice`` is the Dice of these slices taken together, the figure that the code
of HLFD (arXiv 2311.16700) and EMKD (arXiv 2108.09987) reports. The last two see no false positive in any other slice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hlfd.data.slices import SliceCase, SliceSettings, to_sample
from hlfd.errors import ConfigError
from hlfd.events import CancelToken
from hlfd.metrics.overlap import Counts, dice, relative_volume_difference, volume_overlap_error

_BATCH = 8
FIGURES = ("dice", "slice_dice", "target_slices_dice", "voe", "rvd")


@dataclass(frozen=True)
class SliceCounts:
    """Pixels per slice of a case (slices,): predicted, in the reference, and in both."""

    pred: NDArray[np.int64]
    ref: NDArray[np.int64]
    both: NDArray[np.int64]

    def total(self, used: NDArray[np.bool_] | slice = slice(None)) -> Counts:
        """Return the counts of all or the ``used`` slices together."""
        return Counts(int(self.pred[used].sum()), int(self.ref[used].sum()), int(self.both[used].sum()))

    def figures(self) -> dict[str, float | None]:
        """Return the values of ``FIGURES``; those that need a target are None for a case without it."""
        whole, used = self.total(), self.ref > 0
        per_slice = 2 * self.both[used] / (self.pred[used] + self.ref[used])
        return {
            "dice": dice(whole),
            "slice_dice": float(per_slice.mean()) if used.any() else None,
            "target_slices_dice": dice(self.total(used)) if used.any() else None,
            "voe": volume_overlap_error(whole),
            "rvd": relative_volume_difference(whole),
        }


@torch.no_grad()
def count_slices(
    network: nn.Module,
    case: SliceCase,
    settings: SliceSettings,
    values: Collection[int],
    cancel: CancelToken | None = None,
) -> SliceCounts:
    """Run the network on every slice of a case and count; outside of the crop nothing is predicted, but the reference
    counts.
    """
    slices = len(case.image)
    device = next(network.parameters()).device
    pred, both = np.zeros(slices, np.int64), np.zeros(slices, np.int64)
    ref = np.array([np.count_nonzero(np.isin(one, list(values))) for one in case.label], np.int64)
    for start in range(0, slices, _BATCH):
        if cancel is not None:
            cancel.check()
        part = slice(start, min(start + _BATCH, slices))
        samples = [to_sample(case.image[n], case.label[n], settings, values) for n in range(part.start, part.stop)]
        images = torch.stack([sample["image"] for sample in samples]).to(device)
        found = network(images).float().softmax(1)[:, 1] > settings.threshold
        target = torch.stack([sample["label"] for sample in samples]).to(device) > 0
        pred[part] = found.sum((1, 2)).cpu().numpy()
        both[part] = (found & target).sum((1, 2)).cpu().numpy()
    return SliceCounts(pred, ref, both)


def summarise_figures(cases: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the mean of every figure over the cases that have it."""
    summary = {}
    for name in FIGURES:
        known = [case[name] for case in cases if case[name] is not None]
        if known:
            summary[name] = float(np.mean(known))
    return summary


class SliceValidator:
    """The figures of a network on whole held-out cases, to be given to ``fit``; means over cases."""

    def __init__(self, cases: Sequence[SliceCase], settings: SliceSettings, values: Collection[int]) -> None:
        if not any(case.slices_with(values) for case in cases):
            raise ConfigError(
                f"None of the {len(cases)} validation cases holds {' or '.join(settings.target)}.",
                "Raise validation_share, or choose another seed.",
            )
        self._cases, self._settings, self._values = list(cases), settings, sorted(values)

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the mean over cases of each of ``FIGURES``."""
        counts = [count_slices(network, case, self._settings, self._values) for case in self._cases]
        return summarise_figures([one.figures() for one in counts])
