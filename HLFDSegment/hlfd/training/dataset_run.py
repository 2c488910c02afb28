"""Runs a recipe on a labelled data set: prepare, and per fold locator, teacher, cache, distil and evaluate; package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hlfd.config import look_up
from hlfd.data.layouts import Case
from hlfd.distillation.build import build_objective
from hlfd.distillation.teacher import OnlineTeacher, tap_paths
from hlfd.errors import ConfigError, UsageError
from hlfd.events import CancelToken, Event, OnEvent, Stage, Warn, ignore
from hlfd.models.package import file_sha256
from hlfd.networks import SegmentationNetwork
from hlfd.ranks import current_ranks
from hlfd.training.case_source import CasePatches, CaseSource
from hlfd.training.dataset_cases import Split, list_cases, open_prepared, prepare, read_splits
from hlfd.training.dataset_evaluate import evaluate_fold, package_final, package_fold
from hlfd.training.dataset_recipe import (
    DATASET_STAGES,
    NO_AUGMENTATION,
    ROLE_OF_STAGE,
    DatasetRecipe,
    read_dataset_recipe,
)
from hlfd.training.distributed import in_shares, on_main
from hlfd.training.run import build_for_training, fit_network, run_stages, trained_network
from hlfd.training.source import Sample
from hlfd.training.teacher_cache import TeacherCache
from hlfd.training.teacher_cache_source import TeacherCacheSource


def run_dataset_recipe(
    path: Path,
    data: Path | None = None,
    folds: Sequence[int] | None = None,
    stages: Sequence[str] | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Path:
    """Run ``stages`` of the recipe at ``path`` for ``folds`` (all by default) and return its folder.

    ``data`` is the data set, where the recipe does not name it; only the stages prepare and evaluate need it. Finished
    stages are skipped and broken ones resumed. Raises ``ConfigError``, ``UsageError`` and ``InputError``.
    """
    recipe = read_dataset_recipe(path)
    for stage in stages or ():
        look_up(stage, list(DATASET_STAGES), "stage")
    chosen = list(folds) if folds else list(range(recipe.data_set.folds))
    for fold in chosen:
        if not 0 <= fold < recipe.data_set.folds:
            raise UsageError(f"There is no fold {fold}; the recipe has 0 to {recipe.data_set.folds - 1}.")
    wanted = set(stages or DATASET_STAGES)
    cases = _cases(recipe, data) if wanted & {"prepare", "evaluate"} else []
    preparation = on_main(partial(prepare, recipe, cases, on_event, cancel))
    run_stages({"prepare": preparation}, DATASET_STAGES, sorted(wanted), on_event)
    for fold in chosen:
        run = FoldRun(recipe, path, fold, on_event, cancel)
        run_stages(run.actions(cases), DATASET_STAGES, sorted(wanted), run.named)
    if "package" in wanted:
        on_main(partial(_package, recipe, path, on_event, explicit=stages is not None))()
    return recipe.folder


def _cases(recipe: DatasetRecipe, data: Path | None) -> list[Case]:
    if data is None and recipe.data_set.path is None:
        raise UsageError("The recipe does not name the data set.", "Give its folder with --data.")
    return list_cases(recipe.data_set, data or Path(str(recipe.data_set.path)))


def _package(recipe: DatasetRecipe, path: Path, on_event: OnEvent, explicit: bool) -> None:
    fold = fold_recipe(recipe, recipe.package_fold)
    trained = all((fold.folder / role / "best.safetensors").is_file() for role in recipe.networks)
    if trained or explicit:
        on_event(Stage("package"))
        package_final(recipe, fold, path)
    else:
        on_event(Warn(f"Nothing was packaged: the recipe packages fold {recipe.package_fold}, which is not trained."))


def fold_recipe(recipe: DatasetRecipe, fold: int) -> DatasetRecipe:
    """Return the recipe with the folder of one fold."""
    return replace(recipe, folder=recipe.folder / f"fold{fold}")


@dataclass(frozen=True)
class FoldRun:
    """The stages of one fold; ``recipe`` is the whole recipe, ``path`` its file."""

    recipe: DatasetRecipe
    path: Path
    fold: int
    on_event: OnEvent = ignore
    cancel: CancelToken | None = None

    @property
    def own(self) -> DatasetRecipe:
        """The recipe with this fold's folder."""
        return fold_recipe(self.recipe, self.fold)

    @property
    def split(self) -> Split:
        """The cases of this fold."""
        return read_splits(self.recipe)[self.fold]

    def named(self, event: Event) -> None:
        """Pass an event on, stages with the number of the fold."""
        self.on_event(Stage(f"fold {self.fold}: {event.name}") if isinstance(event, Stage) else event)

    def actions(self, cases: Sequence[Case]) -> dict[str, Callable[[], object]]:
        """Return what each stage of a fold does, in order."""
        networks = self.recipe.networks
        training = [stage for stage, role in ROLE_OF_STAGE.items() if role in networks]
        actions: dict[str, Callable[[], object]] = {stage: partial(self.train, stage) for stage in training[:-1]}
        if self.recipe.cached:
            actions["cache"] = in_shares(self.fill_cache)
        actions[training[-1]] = partial(self.train, training[-1])
        actions["evaluate"] = on_main(partial(self.evaluate, cases))
        return actions

    def train(self, stage: str) -> dict[str, float]:
        """Train the network of a stage; return its best metrics on patches of the fold's validation cases."""
        role = ROLE_OF_STAGE[stage]
        entry, seed = self.recipe.networks[role], self.recipe.seed
        assert isinstance(entry.patch, CasePatches)  # as read_dataset_recipe reads it
        class_of = self.recipe.class_of(role)
        cases = open_prepared(self.recipe, role, self.split.train)
        held_out = self.held_out(role, entry.patch)
        if role == "refiner" and self.recipe.cached:
            source = TeacherCacheSource(cases, self.cache().fill(cases), entry.patch, class_of, seed)
            return fit_network(self.own, role, source, held_out, source.spec, self.on_event, self.cancel)
        teacher = self.teacher() if entry.guided else None
        patches = CaseSource(cases, entry.patch, class_of, seed)
        return fit_network(self.own, role, patches, held_out, teacher, self.on_event, self.cancel)

    def held_out(self, role: str, patches: CasePatches) -> list[Sample]:
        """Return patches of the validation cases, not augmented."""
        cases = open_prepared(self.recipe, role, self.split.validation)
        plain = replace(patches, flip_share=0.0, **NO_AUGMENTATION)  # type: ignore[arg-type]
        source = CaseSource(cases, plain, self.recipe.class_of(role), self.recipe.seed + 1)
        return [source.sample(index) for index in range(self.recipe.validation_patches)]

    def teacher(self) -> SegmentationNetwork:
        """Return the fold's trained teacher with all its training classes."""
        network: SegmentationNetwork = trained_network(self.own, "teacher").network
        return network

    def fill_cache(self) -> None:
        """Compute the teacher's outputs for this process's share of the training cases of the fold."""
        cases = open_prepared(self.recipe, "refiner", self.split.train)
        self.cache().fill(current_ranks().take(cases), self.on_event, self.cancel)

    def cache(self) -> TeacherCache:
        """Return the cache of the fold's teacher, with the taps that the student's distillation reads."""
        student, teacher = self.recipe.networks["refiner"], self.teacher()
        settings = self.recipe.cache
        if settings is None or student.distillation is None:
            raise ConfigError("The recipe caches no teacher outputs.", "Give it cache and a distillation.")
        network = build_for_training(student)
        taps = build_objective(student.distillation, network, teacher).teacher_taps
        paths = tap_paths(teacher, "teacher")
        return TeacherCache(
            folder=self.own.folder / "cache",
            teacher=OnlineTeacher(teacher, paths),
            identity=file_sha256(self.own.folder / "teacher" / "best.safetensors"),
            taps=taps,
            windows=student.patch.windows,
            divisor=teacher.divisor,
            patch=student.patch.size,
            spacing_mm=student.patch.spacing_mm,
            settings=settings,
        )

    def evaluate(self, cases: Sequence[Case]) -> None:
        """Package the fold's networks and score them on its own, unseen cases."""
        package = package_fold(self.own, self.fold, self.split, self.path)
        test = set(self.split.test)
        evaluate_fold(self.own, package, [case for case in cases if case.id in test], self.on_event, self.cancel)
