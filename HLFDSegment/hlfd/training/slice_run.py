"""Runs a recipe on slices: cut and split the cases, train teacher and students, and score them on unseen patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hlfd.checkpoint import load_weights
from hlfd.config import look_up
from hlfd.data.layouts import Case
from hlfd.data.slices import SliceCase, SliceSource, keep_slices, open_slices
from hlfd.distillation.build import build_objective
from hlfd.errors import ConfigError, InputError, UsageError
from hlfd.events import CancelToken, Event, OnEvent, ProgressClock, Stage, Warn, ignore
from hlfd.files import write_json, write_text
from hlfd.networks import SegmentationNetwork, build_network
from hlfd.training.dataset_cases import Split, list_cases, split_cases
from hlfd.training.distributed import on_main
from hlfd.training.fit import fit
from hlfd.training.run import run_stages
from hlfd.training.slice_recipe import SLICE_STAGES, TEACHER, SliceRecipe, read_slice_recipe
from hlfd.training.slice_validation import SliceValidator, count_slices, summarise_figures


def run_slice_recipe(
    path: Path,
    data: Path | None = None,
    folds: Sequence[int] | None = None,
    stages: Sequence[str] | None = None,
    steps: int | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> Path:
    """Run ``stages`` (all by default) of the recipe at ``path`` and return its folder.

    ``folds`` are the parts of the patients that are held out in turn; only the first by default, as the papers split
    once. ``steps`` replaces the epochs of every network in a quick trial. Finished stages are skipped and broken ones
    resumed. Raises ``ConfigError``, ``UsageError`` and ``InputError``.
    """
    recipe = read_slice_recipe(path)
    for stage in stages or ():
        look_up(stage, list(SLICE_STAGES), "stage")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps is {steps}; at least 1 was expected.")
    for fold in folds or ():
        if not 0 <= fold < recipe.data_set.folds:
            raise UsageError(f"There is no fold {fold}; the recipe has 0 to {recipe.data_set.folds - 1}.")
    if stages is None or "prepare" in stages:
        on_event(Stage("prepare"))
        on_main(partial(_prepare, recipe, data, on_event, cancel))()
    for fold in folds or (0,):
        run = SliceFold(recipe, fold, steps, on_event, cancel)
        run_stages(run.actions(), SLICE_STAGES, stages, run.named)
    return recipe.folder


def _prepare(recipe: SliceRecipe, data: Path | None, on_event: OnEvent, cancel: CancelToken | None) -> None:
    """Cut all cases into slices and write ``splits.json``; name all bad cases in the end."""
    if data is None and recipe.data_set.path is None:
        raise UsageError("The recipe does not name the data set.", "Give its folder with --data.")
    cases = list_cases(recipe.data_set, data or Path(str(recipe.data_set.path)))
    text = json.dumps([asdict(s) for s in split_cases([c.id for c in cases], recipe.data_set, recipe.seed)], indent=1)
    splits = recipe.folder / "splits.json"
    if splits.is_file() and splits.read_text(encoding="utf-8") != text:
        raise ConfigError(
            f'The cases, folds or seed differ from those that earlier results in "{recipe.folder}" were made with.',
            "Choose another folder in the recipe, or delete splits.json and the folders fold* in this one.",
        )
    clock = ProgressClock(len(cases), on_event, cancel)
    bad = {case.id: fault for case in cases if (fault := _fault(recipe, case, on_event, clock))}
    if bad:
        name, message = next(iter(bad.items()))
        raise InputError(
            f"{len(bad)} of {len(cases)} cases cannot be used: {', '.join(list(bad)[:5])}. {name}: {message}",
            "Correct them, or name them under exclude in the recipe, and start again; the others stay prepared.",
        )
    write_text(splits, text)


def _fault(recipe: SliceRecipe, case: Case, on_event: OnEvent, clock: ProgressClock) -> str:
    """Keep the slices of one case; return what is wrong with it, or nothing."""
    message = ""
    try:
        keep_slices(case, _case_folder(recipe, case.id), recipe.slices.size, recipe.data_set.values, on_event)
    except InputError as error:
        message = error.message
        on_event(Warn(f"{case.id} cannot be used: {message}"))
    clock.advance()
    return message


def _case_folder(recipe: SliceRecipe, name: str) -> Path:
    return recipe.folder / "prepared" / name


@dataclass(frozen=True)
class SliceFold:
    """The stages of one fold."""

    recipe: SliceRecipe
    fold: int
    steps: int | None = None
    on_event: OnEvent = ignore
    cancel: CancelToken | None = None

    @property
    def folder(self) -> Path:
        """Where this fold's networks and scores are."""
        return self.recipe.folder / f"fold{self.fold}"

    @property
    def split(self) -> Split:
        """The cases of this fold; raises ``ConfigError`` before they are prepared."""
        path = self.recipe.folder / "splits.json"
        if not path.is_file():
            raise ConfigError(f'"{path}" is missing.', "Run the stage prepare first.")
        parts = json.loads(path.read_text(encoding="utf-8"))[self.fold]
        return Split(*(tuple(parts[name]) for name in ("train", "validation", "test")))

    def named(self, event: Event) -> None:
        """Pass an event on, stages with the number of the fold."""
        self.on_event(Stage(f"fold {self.fold}: {event.name}") if isinstance(event, Stage) else event)

    def actions(self) -> dict[str, Callable[[], object]]:
        """Return what each stage of a fold does, in order."""
        actions: dict[str, Callable[[], object]] = {}
        if TEACHER in self.recipe.networks:
            actions["teacher"] = partial(self.train, TEACHER)
        return {**actions, "distil": self._train_students, "evaluate": on_main(self.evaluate)}

    def _train_students(self) -> None:
        for name in self.recipe.students:
            self.named(Stage(name))
            self.train(name)

    def train(self, name: str) -> dict[str, float]:
        """Train one network, resuming an earlier run, and return its best figures on the validation cases."""
        recipe, entry = self.recipe, self.recipe.networks[name]
        source = SliceSource(self._cases(self.split.train), recipe.slices, recipe.target_values, recipe.seed)
        validator = SliceValidator(self._cases(self.split.validation), recipe.slices, recipe.target_values)
        network = self._build(name)
        teacher = self.trained(TEACHER) if entry.guided else None
        result = fit(
            network,
            build_objective(entry.distillation, network, teacher),
            source,
            entry.settings(len(source), self.steps),
            folder=self.folder / name,
            validate=validator,
            on_event=self.on_event,
            cancel=self.cancel,
        )
        write_json(self.folder / name / "result.json", result.metrics)
        return result.metrics

    def _build(self, name: str) -> SegmentationNetwork:
        entry = self.recipe.networks[name]
        channels = {"in_channels": len(self.recipe.slices.windows), "classes": 2, "spatial_dims": 2}
        network = build_network(entry.network, **channels, **entry.parameters)
        if any(size % network.divisor for size in self.recipe.slices.crop):
            raise ConfigError(
                f"crop is {self.recipe.slices.crop}; {entry.network} takes multiples of {network.divisor}."
            )
        return network

    def trained(self, name: str) -> SegmentationNetwork:
        """Return a trained network of this fold in eval mode; raises ``ConfigError`` before it is trained."""
        weights = self.folder / name / "best.safetensors"
        if not weights.is_file():
            raise ConfigError(f'"{weights}" is missing.', f"Train {name} first (stage teacher or distil).")
        network = self._build(name)
        load_weights(network, weights)
        return network.eval()

    def _cases(self, names: Sequence[str]) -> list[SliceCase]:
        return [open_slices(_case_folder(self.recipe, name)) for name in names]

    def evaluate(self) -> dict[str, Any]:
        """Score every trained network on the unseen cases; return and keep the figures by network and case."""
        recipe, cases = self.recipe, self._cases(self.split.test)
        trained = [name for name in recipe.networks if (self.folder / name / "best.safetensors").is_file()]
        clock = ProgressClock(len(cases) * len(trained), self.on_event, self.cancel)
        summary: dict[str, Any] = {}
        for name in trained:
            network = self._placed(name)
            rows: dict[str, dict[str, Any]] = {}
            for case in cases:
                counts = count_slices(network, case, recipe.slices, recipe.target_values, self.cancel)
                whole = counts.total()
                volumes = {"pred_ml": whole.pred * case.voxel_ml, "ref_ml": whole.ref * case.voxel_ml}
                rows[case.name] = {**counts.figures(), **volumes, "both_empty": whole.empty}
                clock.advance()
            write_json(self.folder / "evaluate" / f"{name}.json", rows)
            with_target = sum(row["ref_ml"] > 0 for row in rows.values())
            summary[name] = {
                "cases": len(rows), "cases_with_target": with_target, **summarise_figures(list(rows.values())),
            }  # fmt: skip
        write_json(self.folder / "evaluate" / "summary.json", summary)
        return summary

    def _placed(self, name: str) -> SegmentationNetwork:
        from hlfd.training.precision import choose_device

        return self.trained(name).to(choose_device(self.recipe.networks[name].training.device))
