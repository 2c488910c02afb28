"""Simulated patients in a fine-tuning: scans as the student learned from, and scans as the local scanner shows them.

The first keep what it knew, the second bring the variety that a few local cases lack. Some patients are held back from
the training: they tell what is forgotten, and how lesions of all sizes are found in the local look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hlfd.data.phantom_source import PatchSettings, PhantomSource
from hlfd.data.pool import PoolSettings, build_pool
from hlfd.events import CancelToken, OnEvent, Warn, ignore
from hlfd.inference.roles import class_labels
from hlfd.labels import PHANTOM_LABELS
from hlfd.models.package import ModelPackage
from hlfd.training.cases import CachedCase
from hlfd.training.finetune_look import LocalLook, measure_look
from hlfd.training.source import Sample

_HELD_BACK_SHARE, _HELD_BACK = 0.25, 2
"""Of the patients so many are held back, at least one and at most two."""
_SAMPLES = 24
_TUMOR_MM = (5.0, 45.0)
"""Range of diameters. Patients with many lesions are cheap variety, and a student soon knows few by heart."""


@dataclass(frozen=True)
class Replay:
    """Patches of patients to learn from (``known``, and ``look`` as the local cases), and of those held back.

    ``look`` and ``held_look`` are None where no case has an organ to measure the look on.
    """

    known: PhantomSource
    held_known: PhantomSource
    look: PhantomSource | None = None
    held_look: PhantomSource | None = None

    def known_samples(self) -> list[Sample]:
        """Return patches of the patients held back, as the student learned: what it must not forget."""
        return [self.held_known.sample(number) for number in range(_SAMPLES)]

    def look_samples(self) -> list[Sample]:
        """Return patches of the patients held back as the local scanner would show them; none without a look."""
        return [] if self.held_look is None else [self.held_look.sample(number) for number in range(_SAMPLES)]

    def like(self, package: ModelPackage, cases: Sequence[CachedCase], class_of: dict[int, int], seed: int) -> Replay:
        """Return these patches with the look of local cases, whose label values ``class_of`` maps to classes."""
        names = ["", *(self.known.classes[name][0] for name in package.refiner.classes[1:])]
        members = [names[class_of.get(value, 0)] for value in range(max(class_of, default=0) + 1)]
        spacing = package.refiner.spacing_mm
        looks = [look for case in cases if (look := measure_look(case, members, spacing)) is not None]
        if not looks:
            return self
        scans = LocalLook(looks, seed)
        return replace(self, look=self.known.with_scans(scans), held_look=self.held_known.with_scans(scans))


def make_replay(
    package: ModelPackage,
    folder: Path,
    patients: int,
    size: int,
    seed: int,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Replay | None:
    """Return patches of ``patients`` drawn patients, and of one or two more that are held back.

    None, with a warning, where the model has classes that the simulation does not know.
    """
    names = tuple(label.name for label in package.labels)
    explicit = dict(package.region.get("class_to_label", {}))
    entry = package.refiner
    classes = {name: sorted(set(class_labels(name, names, explicit))) for name in entry.classes[1:]}
    members = {label for names in classes.values() for label in names}
    if not members <= {label.name for label in PHANTOM_LABELS}:
        on_event(Warn("The model has classes that cannot be simulated, so nothing is replayed."))
        return None
    near_kidney, near_liver = (any(organ in label for label in members) for organ in ("kidney", "liver"))
    both = 2 if near_kidney and near_liver else 1  # organs that share the patches
    patients_of = {
        **({"tumors": 4, "tumor_mm": _TUMOR_MM, "cysts": 3} if near_kidney else {}),
        **({"liver_study": True} if near_liver else {}),
    }
    held_back = max(1, min(_HELD_BACK, round(_HELD_BACK_SHARE * patients)))
    numbers = (0, patients + held_back - 1)
    settings = PoolSettings(numbers, 1, entry.spacing_mm, seed, "procedural", patients_of)
    patches = PatchSettings(
        entry.spacing_mm,
        (size, size, size),
        entry.windows,
        lesion_share=0.5 / both if near_kidney else 0.0,
        kidney_share=0.4 / both if near_kidney else 0.0,
        liver_lesion_share=0.5 / both if near_liver else 0.0,
        liver_share=0.4 / both if near_liver else 0.0,
        flip_share=0.5 if near_kidney else 0.0,
    )
    entries = build_pool(folder, settings, 1, on_event, cancel)
    learned, held = (PhantomSource(part, patches, classes, seed) for part in (entries[:patients], entries[patients:]))
    return Replay(learned, held)
