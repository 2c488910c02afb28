"""What decides in a fine-tuning: the Dice of those classes that are large enough in the validation cases to tell.

A cyst of ten voxels that is found or not moves its Dice between 0 and 1, and so does one voxel too many where there is
no cyst at all: a mean over all classes would stop a training, and choose its weights, by such noise. A case or
two with a large tumor say nothing about small ones either, so simulated patches in their look count as much as they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hlfd.models.package import NetworkEntry
from hlfd.training.case_source import class_lookup
from hlfd.training.cases import CachedCase
from hlfd.training.finetune_data import region_samples
from hlfd.training.source import Sample
from hlfd.training.validation import PatchValidator, class_dice

LEAST_ML = 1.0
"""Volume of a class in a case from which on its Dice tells more than noise."""
LEAST_PATCH_ML = 0.2
"""And in a simulated patch, of which there are many."""


@dataclass(frozen=True)
class Deciders:
    """Which classes decide, and which cases count for each class: both bool, (classes,) and (cases, classes)."""

    classes: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def choose_deciders(volumes_ml: NDArray[np.float64], least_ml: float = LEAST_ML) -> Deciders:
    """Choose by the volume in ml of each class in each case (cases, classes), background first.

    A class decides that has at least ``least_ml`` in a case. Cases that hold less of it do not count for it; those that
    hold none do, so that what is found there in vain is seen. Where no class is that large all that are there decide.
    """
    enough = volumes_ml >= least_ml
    enough[:, 0] = False
    classes = np.asarray(enough.any(0))
    if classes.any():
        return Deciders(classes, enough | (volumes_ml == 0) | ~classes)
    classes = np.asarray((volumes_ml > 0).any(0))
    classes[0] = False
    if not classes.any():
        classes[1:] = True
    return Deciders(classes, np.ones_like(enough))


class DecidingValidation:
    """Validates on the organ regions of whole cases, to be given to ``fit``.

    ``entry`` is the network's, ``class_of`` maps label values of the cases to its classes. ``look`` are simulated
    patches that look like the cases. ``samples`` holds the regions, ``deciding`` the names of the classes that decide.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        entry: NetworkEntry,
        class_of: Mapping[int, int],
        look: Sequence[Sample] = (),
    ) -> None:
        regions = [region_samples([case], entry, class_of) for case in cases]
        self.samples = [sample for samples in regions for sample in samples]
        self._names = list(entry.classes)
        self._validators = [PatchValidator(samples, names=self._names) for samples in regions]
        chosen = choose_deciders(np.stack([class_volumes_ml(case, entry, class_of) for case in cases]))
        self._counted = torch.from_numpy(chosen.counted)
        self._decides = torch.from_numpy(chosen.classes)
        self.deciding = tuple(name for name, decides in zip(self._names, chosen.classes) if decides)
        self._look = PatchDice(look, self._names, LEAST_PATCH_ML / (entry.spacing_mm**3 / 1000)) if look else None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return ``dice_<name>`` per foreground class, and as ``dice`` the mean of those that decide.

        With simulated patches ``dice`` is the mean of that and of ``dice_simulated``, theirs.
        """
        counts = [validator.counts(network) for validator in self._validators]
        dice = class_dice(*(self._sum([part[n] for part in counts]) for n in (0, 1)))
        named = {f"dice_{name}": float(value) for name, value in zip(self._names[1:], dice[1:])}
        own = float(dice[self._decides].mean())
        if self._look is None:
            return {"dice": own, **named}
        simulated = self._look(network)
        return {"dice": (own + simulated) / 2, **named, "dice_simulated": simulated}

    def _sum(self, parts: Sequence[Tensor]) -> Tensor:
        """Add up counts (classes,) of all cases, each class over the cases that count for it."""
        return (torch.stack(list(parts)) * self._counted).sum(0)


class PatchDice:
    """Mean Dice over patches: every patch counts as much as another for each class of ``least`` voxels in it."""

    def __init__(self, samples: Sequence[Sample], names: Sequence[str], least: float) -> None:
        self._patches = []
        for sample in samples:
            voxels = torch.bincount(sample["label"].flatten().long(), minlength=len(names))
            there = voxels >= least
            there[0] = False
            self._patches.append((PatchValidator([sample], names), there))

    def __call__(self, network: nn.Module) -> float:
        """Return the mean of the classes' means; 1 where no patch holds enough of any class."""
        dice = torch.stack([class_dice(*validator.counts(network)) for validator, _ in self._patches])
        there = torch.stack([there for _, there in self._patches])
        means = [dice[counts, n].mean() for n, counts in enumerate(there.T) if counts.any()]
        return float(torch.stack(means).mean()) if means else 1.0


def class_volumes_ml(case: CachedCase, entry: NetworkEntry, class_of: Mapping[int, int]) -> NDArray[np.float64]:
    """Return the volume of each class of a network in a case, background first."""
    values = np.bincount(np.asarray(case.label).ravel(), minlength=256)
    voxels = np.bincount(class_lookup([case], class_of), weights=values, minlength=len(entry.classes))
    return np.asarray(voxels * (entry.spacing_mm**3 / 1000), np.float64)
