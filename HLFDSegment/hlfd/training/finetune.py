"""Adapts the student of a model package to a few own cases, guided by a frozen teacher, without forgetting the rest.

The loss is that of the labels plus the divergence from the teacher's predictions; a share of the patches is simulated.
The best weights on held-out cases go into a new version of the package; the old one stays as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.data.layouts import Case
from hlfd.distillation import Distillation, DistillSettings, build_objective
from hlfd.errors import ConfigError, EmptyInputError
from hlfd.events import CancelToken, OnEvent, Stage, Warn, ignore
from hlfd.io import read_label_map
from hlfd.io.hounsfield import count_labels
from hlfd.models.package import ModelPackage, file_sha256
from hlfd.models.registry import find, installed
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network
from hlfd.networks.unfold import load_for_training
from hlfd.teachers import FittedTeacher, TeacherSettings, fit_teacher, load_teacher
from hlfd.training.case_source import CasePatches, CaseSource
from hlfd.training.cases import CachedCase, open_case
from hlfd.training.dataset_cases import cache_all
from hlfd.training.dataset_evaluate import write_json
from hlfd.training.finetune_data import (
    MixedSource,
    Roles,
    choose_roles,
    class_of_values,
    labelled_cases,
    region_samples,
    replay_source,
    value_meanings,
)
from hlfd.training.finetune_report import Comparison, compare_packages, write_version
from hlfd.training.finetune_time import affordable_steps
from hlfd.training.fit import FitResult, fit
from hlfd.training.settings import TrainSettings
from hlfd.training.source import PatchSource
from hlfd.training.validation import PatchValidator

_CALIBRATION_PATCHES = 4
_VALIDATIONS = 10


@dataclass(frozen=True)
class FinetuneSettings:
    """How a student is adapted."""

    minutes: float = 10.0
    """Time for the training itself; the number of steps follows from a measured one."""
    steps: int = 0
    """Optimiser steps; 0 takes them from ``minutes``."""
    lr: float = 1e-4
    """Highest learning rate: a tenth to a twentieth of that of a training from scratch."""
    batch_size: int = 2
    """Patches per step."""
    patch: int = 64
    """Side of the cubic patch in voxels; rounded up to what student and teacher take."""
    guide_weight: float = 1.0
    """Weight of the teacher's guidance (``kd``); 0 learns from labels alone."""
    replay_share: float = 0.3
    """Share of simulated patches; 0 turns replay off."""
    replay_patients: int = 2
    """Simulated patients that these patches come from."""
    patience: int = 4
    """Validations without improvement after which the training stops; there are ten in all."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    seed: int = 0
    """Seed of the choice of held-out cases, of the patches and of the training."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or self.steps < 0:
            raise ConfigError("minutes must be above 0 and steps not negative.")
        if not 0 <= self.replay_share < 1:
            raise ConfigError(f"replay_share is {self.replay_share}; 0 or more and below 1 was expected.")
        if self.guide_weight < 0 or min(self.batch_size, self.patch, self.replay_patients) < 1:
            raise ConfigError(
                "guide_weight must not be negative; batch_size, patch and replay_patients must be at least 1."
            )


@dataclass(frozen=True)
class Finetuned:
    """The outcome: the new package, the comparison on held-out cases, and whether the stopping cases improved."""

    package: ModelPackage
    comparison: Comparison
    improved: bool
    steps: int
    roles: Roles


def finetune(
    model: str | Path,
    data: Path,
    out: Path,
    settings: FinetuneSettings,
    teacher: TeacherSettings | None = None,
    held_out: Sequence[str] = (),
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Finetuned:
    """Adapt the refiner of ``model`` to the labelled cases in ``data`` and write ``out/package/<name>/<version>``.

    ``teacher`` guides it; without one the package's teacher does, else the refiner as it was. A broken run in ``out``
    goes on. Raises ``InputError`` for cases that cannot be used, ``ConfigError`` for a teacher that does not fit,
    ``ModelError`` and ``OutputError``. The model that was given is not changed.
    """
    return _Run(find(model), Path(data), Path(out), settings, teacher, held_out, on_event, cancel).run()


class _Run:
    """One fine-tuning; the methods are its stages."""

    def __init__(
        self,
        package: ModelPackage,
        data: Path,
        out: Path,
        settings: FinetuneSettings,
        teacher: TeacherSettings | None,
        held_out: Sequence[str],
        on_event: OnEvent,
        cancel: CancelToken | None,
    ) -> None:
        self.package, self.out, self.settings = package, out, settings
        self.on_event, self.cancel = on_event, cancel
        entry = package.refiner
        source = teacher or TeacherSettings(str(package.folder), kind="package")
        self.guide_name = "the package's own student" if teacher is None and package.teacher is None else source.source
        self.guide: FittedTeacher | None = None
        if settings.guide_weight > 0:
            self.guide = fit_teacher(load_teacher(source), entry.classes, entry.windows, entry.spacing_mm)
        self.cases = labelled_cases(data, on_event)
        self.roles = choose_roles([case.id for case in self.cases], held_out, settings.seed)

    def run(self) -> Finetuned:
        """Do all stages."""
        self.on_event(Stage("prepare"))
        cached = self._prepare()
        source = self._source(cached)
        network = self._network(source)
        samples = region_samples([cached[name] for name in self.roles.stop], self.package.refiner, self.class_of)
        validator = PatchValidator(samples, names=self.package.refiner.classes)
        objective = self._objective(network)
        start = validator(network.eval())["dice"]
        plan = self._plan(network, objective, source, validator)
        result = self._fit(network, objective, source, validator, plan)
        improved = result.best_value is not None and result.best_value > start
        if not improved:
            self.on_event(
                Warn("The held-out cases did not improve; the new version is written, but prefer the old one.")
            )
        self.on_event(Stage("package"))
        root, origin = self.out / "package", self._origin(result)
        package = write_version(self.package, network, plan["version"], root, origin)
        self.on_event(Stage("compare"))
        test = [case for case in self.cases if case.id in self.roles.test]
        apart = self.roles.stop != self.roles.test
        comparison = compare_packages(self.package, package, test, self.meanings, self.settings.device, self.cancel)
        package = write_version(self.package, network, plan["version"], root, origin, comparison)  # for its card
        summary = {"improved_while_training": improved, "stopped_by_other_cases": apart, "steps": result.step}
        write_json(self.out / "finetune.json", {**summary, "roles": asdict(self.roles), **asdict(comparison)})
        return Finetuned(package, comparison, improved, result.step, self.roles)

    def _prepare(self) -> dict[str, CachedCase]:
        """Bring all cases to the refiner's grid; also finds out what their label values mean."""
        found = {value for case in self.cases for value in _values(case)}
        if not found:
            raise EmptyInputError("All label maps are empty.", "Label an organ or tumor in them.")
        self.meanings = value_meanings(self.package, sorted(found))
        self.class_of = class_of_values(self.package, self.meanings)
        spacing = self.package.refiner.spacing_mm
        folder = self.out / "prepared"
        cache_all(self.cases, lambda case: {spacing: folder / case.id}, list(self.meanings), self.on_event, self.cancel)
        return {case.id: open_case(folder / case.id) for case in self.cases}

    def _patch_size(self) -> int:
        divisors = [self.package.refiner.divisor, *([self.guide.divisor] if self.guide else [])]
        step = math.lcm(*divisors)
        return max(2 * max(divisors), -(-self.settings.patch // step) * step)

    def _source(self, cached: dict[str, CachedCase]) -> PatchSource:
        """Return the patches: local ones, lightly varied, and replayed ones."""
        entry, size, settings = self.package.refiner, self._patch_size(), self.settings
        sided = any(label.name.startswith("left ") for label in self.package.labels)
        patches = CasePatches(
            spacing_mm=entry.spacing_mm,
            size=(size, size, size),
            windows=entry.windows,
            flip_share=0.5 if sided else 0.0,
        )
        own = CaseSource([cached[name] for name in self.roles.train], patches, self.class_of, settings.seed)
        replay = None
        if settings.replay_share > 0:
            self.on_event(Stage("replay"))
            replay = replay_source(
                *(self.package, self.out / "replay", settings.replay_patients, size, settings.seed),
                on_event=self.on_event,
                cancel=self.cancel,
            )
        return MixedSource(own, replay, settings.replay_share, settings.seed)

    def _network(self, source: PatchSource) -> SegmentationNetwork:
        """Return the package's student, with batch norm again, ready to be trained."""
        entry = self.package.refiner
        network = build_network(entry.network, **entry.parameters)
        if entry.groups:
            network = MergeClasses(network, entry.groups)
        images = [source.sample(index)["image"][None] for index in range(_CALIBRATION_PATCHES)]
        return load_for_training(network, entry.weights, images)

    def _objective(self, network: SegmentationNetwork) -> Distillation:
        weight = self.settings.guide_weight
        methods: tuple[Any, ...] = ({"name": "kd", "weight": weight},) if weight > 0 else ("none",)
        return build_objective(DistillSettings(methods=methods), network, self.guide)

    def _plan(
        self, network: SegmentationNetwork, objective: Distillation, source: PatchSource, validator: PatchValidator
    ) -> dict[str, Any]:
        """Return the number of steps and the new version, decided once per folder so that a broken run goes on."""
        path = self.out / "plan.json"
        key = {
            "model": file_sha256(self.package.folder / "model.json"),
            "roles": {name: list(names) for name, names in asdict(self.roles).items()},
        }
        if path.is_file():
            plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if plan["key"] != key:
                raise ConfigError(
                    f'"{self.out}" holds a fine-tuning of another model or of other cases.', "Choose another folder."
                )
            return plan
        settings = self.settings
        steps = settings.steps or affordable_steps(
            *(network, objective, source, settings.batch_size, settings.device),
            seconds=60 * settings.minutes,
            validate=validator,
            validations=_VALIDATIONS,
        )
        plan = {"key": key, "steps": steps, "version": next_version(self.package), "guide": self.guide_name}
        write_json(path, plan)
        return plan

    def _fit(
        self,
        network: SegmentationNetwork,
        objective: Distillation,
        source: PatchSource,
        validator: PatchValidator,
        plan: dict[str, Any],
    ) -> FitResult:
        settings, steps = self.settings, int(plan["steps"])
        every = max(1, steps // _VALIDATIONS)
        training = TrainSettings(
            steps=steps,
            batch_size=settings.batch_size,
            lr=settings.lr,
            warmup_steps=min(20, steps // 10),
            ema_decay=0.99,
            device=settings.device,
            seed=settings.seed,
            validate_every=every,
            checkpoint_every=every,
            patience=settings.patience,
            tensorboard=False,
        )
        folder = self.out / "run"
        return fit(network, objective, source, training, folder, validator, self.on_event, self.cancel)

    def _origin(self, result: FitResult) -> dict[str, Any]:
        """Return what the new version's card says of its making; local cases stay unnamed."""
        return {
            "finetuned_from": f"{self.package.name} {self.package.version}",
            "base_sha256": file_sha256(self.package.folder / "model.json"),
            "guide": self.guide_name if self.guide else "none",
            "local_cases": {"train": len(self.roles.train), "held_out": len({*self.roles.stop, *self.roles.test})},
            "steps": result.step,
            "best_step": result.best_step,
            "replay_share": self.settings.replay_share,
        }


def _values(case: Case) -> set[int]:
    """Return the label values of a case's map other than 0."""
    assert case.label is not None  # labelled_cases leaves others out
    return {int(value) for value in np.flatnonzero(count_labels(read_label_map(case.label).array)) if value > 0}


def next_version(package: ModelPackage) -> str:
    """Return the package's version with a further number that no installed version has: 0.2.0 becomes 0.2.0.1."""
    taken = {entry.version for entry in installed() if entry.name == package.name}
    number = 1
    while f"{package.version}.{number}" in taken:
        number += 1
    return f"{package.version}.{number}"
