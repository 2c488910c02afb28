"""The data of a fine-tuning: few local cases, held-out ones among them, mixed with simulated patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hlfd.data.layouts import Case, find_cases
from hlfd.errors import EmptyInputError, InputError, UsageError
from hlfd.events import OnEvent, Warn, ignore
from hlfd.inference.roles import make_roles
from hlfd.labels import LIVER, LIVER_TUMOR
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.preprocess.intensity import window_channels
from hlfd.training.case_source import class_lookup
from hlfd.training.cases import CachedCase
from hlfd.training.source import PatchSource, Sample
from hlfd.training.teacher_regions import cut_region, organ_regions
from hlfd.volume import LabelMap

_LITS = {1: LIVER.value, 2: LIVER_TUMOR.value}
_STOP_APART = 4  # from so many cases on one chooses when to stop, and others are only scored
_REGION_MARGIN_MM = 16.0


@dataclass(frozen=True)
class Roles:
    """Identifiers of the local cases by what they are for; ``stop`` equals ``test`` where there are too few."""

    train: tuple[str, ...]
    stop: tuple[str, ...]
    test: tuple[str, ...]


def labelled_cases(data: Path, on_event: OnEvent = ignore) -> list[Case]:
    """Return the cases with a label map, in any layout; raise ``InputError`` for fewer than two or repeated names."""
    found = find_cases(data)
    cases = [case for case in found if case.label is not None]
    if len(cases) < len(found):
        on_event(Warn(f"{len(found) - len(cases)} of {len(found)} cases have no label map and are left out."))
    if len({case.id for case in cases}) < len(cases):
        raise InputError(f'"{data}" names a case more than once.', "Give every case its own identifier.")
    if len(cases) < 2:
        raise EmptyInputError(
            f'"{data}" holds {len(cases)} labelled case{"" if len(cases) == 1 else "s"}; at least 2 were expected, one '
            "to learn from and one to measure the gain on.",
            "Label another case.",
        )
    return cases


def choose_roles(names: Sequence[str], held_out: Sequence[str], seed: int) -> Roles:
    """Return which cases are learnt from, which decide when to stop, and which are only scored.

    A quarter is scored unless ``held_out`` names them. Raises ``UsageError`` for unknown names and where nothing is
    left to learn from.
    """
    unknown = sorted(set(held_out) - set(names))
    if unknown:
        raise UsageError(f"There is no case {', '.join(unknown)} to hold out.", f"There are: {', '.join(names)}.")
    order = [str(name) for name in np.random.default_rng(seed).permutation(sorted(names))]
    test = list(held_out) or order[: max(1, len(order) // 4)]
    rest = [name for name in order if name not in test]
    stop = rest[:1] if len(order) >= _STOP_APART and len(rest) > 1 else test
    train = [name for name in rest if name not in stop]
    if not train:
        raise UsageError("All cases are held out; none is left to learn from.", "Hold out fewer.")
    return Roles(tuple(train), tuple(stop), tuple(test))


def check_roles(roles: Roles, names: Sequence[str]) -> Roles:
    """Return the roles that were given; raise ``UsageError`` where they name unknown cases or leave a part empty."""
    unknown = sorted({*roles.train, *roles.stop, *roles.test} - set(names))
    if unknown:
        raise UsageError(f"There is no labelled case {', '.join(unknown)}.", f"There are: {', '.join(names)}.")
    if not (roles.train and roles.stop and roles.test):
        raise UsageError(
            "At least one case to learn from and one to measure the gain on were expected.",
            "Give cases the roles train, validation and test.",
        )
    seen = sorted(set(roles.train) & {*roles.stop, *roles.test})
    if seen:
        raise UsageError(f"{', '.join(seen)} would be learnt from and scored.", "Give each case one role.")
    return roles


def value_meanings(package: ModelPackage, found: Sequence[int]) -> dict[int, int]:
    """Return the label value of the package for each label value that local maps may hold.

    Values are those of the package; for a liver package also 1 liver and 2 tumor, as in LiTS, where the maps hold
    nothing else. Raises ``InputError`` for other values.
    """
    own = {label.value: label.value for label in package.labels}
    if set(found) <= set(own):
        return own
    if set(found) <= set(_LITS) and set(_LITS.values()) <= set(own):
        return _LITS
    known = ", ".join(f"{label.value} {label.name}" for label in package.labels)
    raise InputError(
        f"The label maps hold the values {sorted(found)}; the model knows {known}.",
        "Give the label maps these values.",
    )


def class_of_values(package: ModelPackage, meanings: Mapping[int, int]) -> dict[int, int]:
    """Return the refiner's class of each local label value; 0 for labels that are no class of it."""
    roles = make_roles(package)
    classes = {value: n for sides in (roles.left, roles.right) for n, value in enumerate(sides) if value}
    return {value: classes.get(meaning, 0) for value, meaning in meanings.items()}


def truth_of(labels: LabelMap, package: ModelPackage, meanings: Mapping[int, int]) -> LabelMap:
    """Return a local label map with the values and the table of the package."""
    table = np.zeros(256, np.uint8)
    for value, meaning in meanings.items():
        table[value] = meaning
    return LabelMap(table[labels.array], labels.affine, package.labels)


def region_samples(
    cases: Sequence[CachedCase], entry: NetworkEntry, class_of: Mapping[int, int], max_voxels: int = 4_000_000
) -> list[Sample]:
    """Return every organ region of the cases as one sample each, for validation."""
    margin = round(_REGION_MARGIN_MM / entry.spacing_mm)
    least = (2 * entry.divisor,) * 3
    samples = []
    for case in cases:
        table = class_lookup([case], class_of)
        for region in organ_regions(case.label, margin, least, entry.divisor, max_voxels):
            hu = cut_region(case.image, region).astype(np.float32)
            image = torch.from_numpy(window_channels(hu, entry.windows)[0])
            samples.append({"image": image, "label": torch.from_numpy(table[cut_region(case.label, region, 0)])})
    return samples


class MixedSource:
    """Patches of up to three sources: a share of ``replay``, one of ``look``, the rest of ``own``.

    Pure in the seed and the index. With ``guide_replayed`` the samples say by ``guided`` that a teacher guides the
    replayed ones alone.
    """

    def __init__(
        self,
        own: PatchSource,
        replay: PatchSource | None,
        share: float,
        seed: int,
        guide_replayed: bool = False,
        look: PatchSource | None = None,
        look_share: float = 0.0,
    ) -> None:
        self._own, self._replay, self._share, self._seed = own, replay, share, seed
        self._look, self._look_share = look, look_share
        self._mark = guide_replayed and replay is not None

    def sample(self, index: int) -> Sample:
        """Return ``image`` and ``label`` (int64) of the patch ``index``."""
        draw = np.random.default_rng([self._seed, index]).random()
        source, replayed = self._own, False
        if self._replay is not None and draw < self._share:
            source, replayed = self._replay, True
        elif self._look is not None and draw < self._share + self._look_share:
            source = self._look
        sample = source.sample(index)
        mark = {"guided": torch.tensor(replayed)} if self._mark else {}
        return {"image": sample["image"], "label": sample["label"].long(), **mark}
