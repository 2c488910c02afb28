"""Adapts the student of a model package to a few own cases, guided by a frozen teacher, without forgetting the rest.

The loss is that of the labels plus the divergence from the teacher's predictions; a share of the patches is simulated.
The best weights on held-out cases, moved back as far as what was known needs it, go into a new version of the package;
the old one stays as it is.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.data.layouts import Case
from hlfd.distillation import Distillation, DistillSettings, build_objective
from hlfd.errors import ConfigError, EmptyInputError
from hlfd.events import CancelToken, Metric, OnEvent, Stage, Warn, ignore
from hlfd.files import write_json
from hlfd.inference.roles import make_roles
from hlfd.io import read_label_map
from hlfd.io.hounsfield import count_labels
from hlfd.losses import dice_ce_loss
from hlfd.models.build import load_network
from hlfd.models.package import ModelPackage, file_sha256
from hlfd.models.registry import find, next_version
from hlfd.networks import SegmentationNetwork
from hlfd.teachers import FittedTeacher, TeacherSettings, fit_teacher, load_teacher
from hlfd.training.case_source import CasePatches, CaseSource
from hlfd.training.cases import CachedCase, open_case
from hlfd.training.dataset_cases import cache_all
from hlfd.training.finetune_blend import blend_back
from hlfd.training.finetune_data import (
    MixedSource,
    Roles,
    check_roles,
    choose_roles,
    class_of_values,
    labelled_cases,
    value_meanings,
)
from hlfd.training.finetune_memory import FitMemory, PatchSteps, with_less_memory
from hlfd.training.finetune_quality import carried_quality
from hlfd.training.finetune_replay import Replay, make_replay
from hlfd.training.finetune_report import Comparison, compare_packages, write_version
from hlfd.training.finetune_samples import WatchedValidation
from hlfd.training.finetune_settings import NOTHING, FinetuneSettings, Watch
from hlfd.training.finetune_time import MOST, affordable_steps, most_steps
from hlfd.training.finetune_validation import LEAST_ML, DecidingValidation
from hlfd.training.fit import FitResult, Validate, fit
from hlfd.training.settings import TrainSettings
from hlfd.training.source import PatchSource
from hlfd.training.validation import PatchValidator

_VALIDATIONS = 10
_CHECKPOINTS = 40
_BACKGROUND_WEIGHT, _ORGAN_WEIGHT, _CYST_WEIGHT, _TUMOR_WEIGHT = 0.7, 1.5, 2.5, 3.0
"""Of the classes in the cross entropy, as in configs/kidney/kidney.yaml."""
_LEAST_SHARE = 0.3
"""Of the time that is given, at least so much goes into training, however long the preparation took."""
_OPEN_END_EVERY, _OPEN_END_PATIENCE = 100, 6
"""Steps between validations, and validations without improvement, of a training without a limit of time."""
__all__ = ["FinetuneSettings", "Finetuned", "Finetuning", "Watch", "finetune"]


@dataclass(frozen=True)
class Finetuned:
    """The outcome: the new package, its comparison on held-out cases, and whether it is better on the stopping ones."""

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
    roles: Roles | None = None,
    watch: Watch = NOTHING,
) -> Finetuned:
    """Adapt the refiner of ``model`` to the labelled cases in ``data`` and write ``out/package/<name>/<version>``.

    ``teacher`` guides it; without one the package's teacher, else the refiner as it was, does on replayed patches.
    ``roles`` says what each case is for (chosen otherwise, ``held_out`` scored alone); ``watch`` keeps example slices
    and segmentations. A broken run in ``out`` goes on. Where the memory is too small for a patch, a smaller one is
    taken with a warning. The model that was given is not changed. Raises ``InputError`` for cases that cannot be used,
    ``ConfigError`` for a teacher that does not fit, ``ModelError``, ``OutputError``, ``OutOfMemoryError`` and
    ``GpuOutOfMemoryError``.
    """
    run = Finetuning(find(model), Path(data), Path(out), settings, teacher, held_out, on_event, cancel, roles, watch)
    return with_less_memory(run.run, run.memory)


class Finetuning:
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
        roles: Roles | None = None,
        watch: Watch = NOTHING,
    ) -> None:
        self.began = time.monotonic()
        self.package, self.out, self.settings, self.watch = package, out, settings, watch
        self.on_event, self.cancel = on_event, cancel
        entry = package.refiner
        source = teacher or TeacherSettings(str(package.folder), kind="package")
        self.guide_replayed = teacher is None
        own = "student" if package.teacher is None else "teacher"
        self.guide_name = f"the package's own {own}" if teacher is None else source.source
        self.guide: FittedTeacher | None = None
        self.replay: Replay | None = None
        self.kept = 1.0
        if settings.guided:
            self.guide = fit_teacher(load_teacher(source), entry.classes, entry.windows, entry.spacing_mm)
        self.cases = labelled_cases(data, on_event)
        names = [case.id for case in self.cases]
        self.roles = check_roles(roles, names) if roles else choose_roles(names, held_out, settings.seed)
        chosen = {*self.roles.train, *self.roles.stop, *self.roles.test}
        self.cases = [case for case in self.cases if case.id in chosen]
        path, steps = out / "patch.json", self._patch_steps()
        self.memory = FitMemory(path, settings.patch, settings.batch_size, steps, on_event)

    def run(self) -> Finetuned:
        """Do all stages."""
        self.on_event(Stage("prepare"))
        cached = self.prepare(self.out / "prepared")
        source = self.source(cached, self.out / "replay")
        network = self.network()
        deciding = self._deciding([cached[name] for name in self.roles.stop])
        validation = self._watched(deciding)
        objective = self.objective(network)
        start = validation(network.eval())
        plan = self._plan(network, objective, source, validation)
        if not (self.out / "run" / "checkpoint.pt").exists():
            self.on_event(Metric(0, {f"validation/{name}": value for name, value in start.items()}))
            validation.write(0)
        result = self._fit(network, objective, source, validation, plan)
        self.kept = self._keep_what_was_known(network)
        improved = validation(network.eval())["dice"] > start["dice"]  # of what is shipped
        if not improved:
            self.on_event(
                Warn("The held-out cases did not improve; the new version is written, but prefer the old one.")
            )
        self.on_event(Stage("package"))
        learned = [case.image for case in self.cases if case.id not in self.roles.test]
        quality = carried_quality(self.package, learned, self.settings.device, self.cancel)
        facts = (plan["version"], self.out / "package", self._origin(result), quality)
        package = write_version(self.package, network, *facts)
        self.on_event(Stage("compare"))
        comparison = self._compare(package)
        package = write_version(self.package, network, *facts, comparison)  # for its card
        apart = self.roles.stop != self.roles.test
        summary = {"improved": improved, "decided_by": deciding.deciding, "stopped_by_other_cases": apart}
        done = {**summary, "steps": result.step, "roles": asdict(self.roles), **asdict(comparison)}
        write_json(self.out / "finetune.json", done)
        return Finetuned(package, comparison, improved, result.step, self.roles)

    def _compare(self, package: ModelPackage) -> Comparison:
        test = [case for case in self.cases if case.id in self.roles.test]
        return compare_packages(
            *(self.package, package, test, self.meanings, self.settings.device, self.cancel),
            keep=self.watch.predictions,
            on_event=self.on_event,
        )

    def _deciding(self, cases: Sequence[CachedCase]) -> DecidingValidation:
        """Return what decides when to stop; warn where no lesion takes part."""
        entry = self.package.refiner
        deciding = DecidingValidation(cases, entry, self.class_of, self.replay.look_samples() if self.replay else ())
        lesions = [entry.classes[n] for n in make_roles(self.package).lesions]
        if lesions and not set(lesions) & set(deciding.deciding):
            self.on_event(
                Warn(
                    f"No {' or '.join(lesions)} of {LEAST_ML:g} ml is in the cases that decide when to stop, so "
                    f"{', '.join(deciding.deciding)} decides alone. Choose cases with a larger one for validation."
                )
            )
        return deciding

    def _watched(self, deciding: DecidingValidation) -> WatchedValidation:
        entry = self.package.refiner
        shown = (deciding.samples, entry.classes, entry.windows[0])
        return WatchedValidation(deciding, *shown, self.watch, self.on_event)

    def prepare(self, folder: Path) -> dict[str, CachedCase]:
        """Bring all cases to the refiner's grid; also finds out what their label values mean."""
        found = {value for case in self.cases for value in _values(case)}
        if not found:
            raise EmptyInputError("All label maps are empty.", "Label an organ or tumor in them.")
        self.meanings = value_meanings(self.package, sorted(found))
        self.class_of = class_of_values(self.package, self.meanings)
        spacing = self.package.refiner.spacing_mm
        cache_all(self.cases, lambda case: {spacing: folder / case.id}, list(self.meanings), self.on_event, self.cancel)
        return {case.id: open_case(folder / case.id) for case in self.cases}

    def _patch_steps(self) -> PatchSteps:
        divisors = [self.package.refiner.divisor, *([self.guide.divisor] if self.guide else [])]
        return PatchSteps(math.lcm(*divisors), 2 * max(divisors))

    def source(self, cached: dict[str, CachedCase], replay_folder: Path) -> PatchSource:
        """Return the patches: local ones, lightly varied, and replayed ones.

        Small lesions weigh no more than others (``lesion_weights``): with them old test cases lost 0.03 of tumor Dice.
        """
        entry, size, settings = self.package.refiner, self.memory.patch, self.settings
        sided = any(label.name.startswith("left ") for label in self.package.labels)
        patches = CasePatches(
            spacing_mm=entry.spacing_mm,
            size=(size, size, size),
            windows=entry.windows,
            flip_share=0.5 if sided else 0.0,
        )
        own = CaseSource([cached[name] for name in self.roles.train], patches, self.class_of, settings.seed)
        self.replay = self._make_replay(cached, replay_folder) if settings.replay_share > 0 else None
        half = settings.replay_share / 2
        # The package's own networks know what is replayed; of new images they would only teach what is to be corrected.
        return MixedSource(
            *(own, self.replay.known if self.replay else None, half, settings.seed),
            guide_replayed=self.guide_replayed,
            look=self.replay.look if self.replay else None,
            look_share=half,
        )

    def _make_replay(self, cached: dict[str, CachedCase], folder: Path) -> Replay | None:
        """Return simulated patches as the student learned and as the cases to learn from look."""
        self.on_event(Stage("replay"))
        settings = self.settings
        replay = make_replay(
            *(self.package, folder, settings.replay_patients, self.memory.patch, settings.seed),
            on_event=self.on_event,
            cancel=self.cancel,
        )
        learned = [cached[name] for name in self.roles.train]
        return replay and replay.like(self.package, learned, self.class_of, settings.seed)

    def network(self) -> SegmentationNetwork:
        """Return the package's student, ready to be trained, its batch norms folded into the convolutions.

        So it begins as exactly what the package is. Norms that follow the statistics of a few patches of one scanner
        cost more than the new cases bring: tumor Dice fell on them by 0.04, and on the old test cases by 0.18.
        """
        return load_network(self.package.refiner)

    def objective(self, network: SegmentationNetwork) -> Distillation:
        """Return the loss: labels with the class weights of our recipes, and the guidance of the teacher.

        Without these weights a student that learned with them unlearns its lesions, small ones first.
        """
        settings = self.settings
        guided = ({"name": name, "weight": settings.guide_weight} for name in settings.methods)
        methods: tuple[Any, ...] = tuple(guided) if settings.guided else ("none",)
        labels = partial(dice_ce_loss, class_weights=self.class_weights(), smooth=1.0)
        return build_objective(DistillSettings(methods=methods), network, self.guide, segmentation=labels)

    def class_weights(self) -> list[float]:
        """Return the weight of each class in the loss, background first."""
        roles = make_roles(self.package)
        weights = [_BACKGROUND_WEIGHT, *[_ORGAN_WEIGHT] * (len(roles.left) - 1)]
        for n in roles.lesions:
            weights[n] = _CYST_WEIGHT if n in roles.cysts else _TUMOR_WEIGHT
        return weights

    def _plan(
        self, network: SegmentationNetwork, objective: Distillation, source: PatchSource, validator: Validate
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
        steps = self.settings.steps or self.affordable(network, objective, source, validator)
        plan = {
            "key": key,
            "steps": steps,
            "version": next_version(self.package.name, self.package.version),
            "guide": self.guide_name,
        }
        write_json(path, plan)
        return plan

    def affordable(
        self, network: SegmentationNetwork, objective: Distillation, source: PatchSource, validator: Validate
    ) -> int:
        """Return how many steps fit into what is left of the time that was given, and are of use."""
        settings = self.settings
        if settings.minutes == 0:
            return MOST
        given = 60 * settings.minutes
        return affordable_steps(
            *(network, objective, source, self.memory.batch_size, settings.device),
            seconds=max(given - (time.monotonic() - self.began), _LEAST_SHARE * given),
            validate=validator,
            validations=_VALIDATIONS,
            most=most_steps(len(self.roles.train)),
        )

    def _fit(
        self,
        network: SegmentationNetwork,
        objective: Distillation,
        source: PatchSource,
        validator: WatchedValidation,
        plan: dict[str, Any],
    ) -> FitResult:
        settings, steps = self.settings, int(plan["steps"])
        open_end = settings.steps == 0 and settings.minutes == 0
        training = TrainSettings(
            steps=steps,
            batch_size=self.memory.batch_size,
            lr=settings.lr,
            warmup_steps=min(20, steps // 10),
            ema_decay=0.99,
            device=settings.device,
            seed=settings.seed,
            validate_every=_OPEN_END_EVERY if open_end else max(1, steps // _VALIDATIONS),
            checkpoint_every=max(1, steps // _CHECKPOINTS),
            # Else never before the end: what the first steps shake, the falling learning rate of the last ones mends.
            patience=_OPEN_END_PATIENCE if open_end else 0,
            tensorboard=False,
        )
        folder, hear = self.out / "run", validator.on_event
        return fit(network, objective, source, training, folder, validator, hear, self.cancel)

    def _keep_what_was_known(self, network: SegmentationNetwork) -> float:
        """Move the weights back as far as replayed patients need it; return the share of the change that stays."""
        if self.replay is None:
            return 1.0
        self.on_event(Stage("blend"))
        validator = PatchValidator(self.replay.known_samples(), names=self.package.refiner.classes)
        start = self.network().state_dict()
        return blend_back(network, start, lambda candidate: validator(candidate)["dice"])

    def _origin(self, result: FitResult) -> dict[str, Any]:
        """Return what the new version's card says of its making; local cases stay unnamed."""
        return {
            "finetuned_from": f"{self.package.name} {self.package.version}",
            "base_sha256": file_sha256(self.package.folder / "model.json"),
            "guide": self.guide_name if self.guide else "none",
            "method": self.settings.method if self.guide else "none",
            "local_cases": {"train": len(self.roles.train), "held_out": len({*self.roles.stop, *self.roles.test})},
            "steps": result.step,
            "best_step": result.best_step,
            "replay_share": self.settings.replay_share,
            "share_of_change_kept": self.kept,
        }


def _values(case: Case) -> set[int]:
    """Return the label values of a case's map other than 0."""
    assert case.label is not None  # labelled_cases leaves others out
    return {int(value) for value in np.flatnonzero(count_labels(read_label_map(case.label).array)) if value > 0}
