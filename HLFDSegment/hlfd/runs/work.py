"""What the process of a run does: the training itself, and its outcome. Needs torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hlfd.errors import UsageError
from hlfd.events import CancelToken, OnEvent, Stage
from hlfd.files import write_json
from hlfd.models.package import ModelPackage, load_package
from hlfd.project import Project
from hlfd.project.project import PROJECT_FILE
from hlfd.runs.files import RunFiles
from hlfd.runs.outcome import rows_of, worse_in
from hlfd.runs.recorder import Recorder
from hlfd.runs.settings import DistilSettings, RunSettings
from hlfd.teachers import TeacherSettings
from hlfd.training.finetune import Finetuned, Watch, finetune
from hlfd.training.finetune_data import Roles, choose_roles, labelled_cases
from hlfd.training.finetune_settings import FinetuneSettings

_TESTED = ("validation", "test")


def train(files: RunFiles, settings: RunSettings, data: Path, recorder: Recorder, cancel: CancelToken) -> None:
    """Fine-tune as ``settings`` say, or go on with it, and write ``result.json``."""
    began = time.monotonic()
    watch = Watch(files.samples, recorder.sample, files.predictions)
    done = finetune(
        *(settings.model, data, files.work, finetune_settings(settings), teacher_of(settings)),
        on_event=recorder.on_event,
        cancel=cancel,
        roles=roles_of(data, settings.seed),
        watch=watch,
    )
    write_json(files.result, result_of(done, settings, data, files, time.monotonic() - began))


def finetune_settings(settings: RunSettings) -> FinetuneSettings:
    """Return the settings of the engine for those of a run."""
    names = ("minutes", "steps", "lr", "device", "replay_share", "patch", "batch_size", "seed", "guide_weight")
    method = settings.method if settings.guided else "none"
    return FinetuneSettings(**{name: getattr(settings, name) for name in names}, method=method)


def teacher_of(settings: RunSettings) -> TeacherSettings | None:
    """Return the teacher that the settings name, None for that of the package or the student itself."""
    return TeacherSettings(settings.teacher) if settings.guided and settings.teacher else None


def roles_of(data: Path, seed: int) -> Roles | None:
    """Return what the cases of a project are for by the roles that the user gave them; None for other data sets.

    Where no case has the role validation, one that is learnt from is taken to choose when to stop; where none has the
    role test, those of validation are scored too.
    """
    if not (data / PROJECT_FILE).is_file():
        return None
    given = {case.id: case.role for case in Project.open(data).cases}
    names = [name for name, role in given.items() if role != "unused"]
    train, validation, test = (
        tuple(name for name in names if given[name] == role) for role in ("train", "validation", "test")
    )
    if not validation and not test:
        return None
    if validation and test:
        return Roles(train, validation, test)
    if validation:
        return Roles(train, validation, validation)
    if not train:
        raise UsageError("All cases are only scored; none is left to learn from.", "Give cases the role train.")
    return choose_roles(names, test, seed)


def result_of(done: Finetuned, settings: RunSettings, data: Path, files: RunFiles, seconds: float) -> dict[str, Any]:
    """Return what ``hlfd.runs.outcome`` describes."""
    rows, package = rows_of(done.comparison.cases), done.package
    images = {case.id: case.image for case in labelled_cases(data)}
    return {
        "package": str(package.folder),
        "name": package.name,
        "version": package.version,
        "base": settings.model,
        "improved": done.improved,
        "flattered": done.roles.stop == done.roles.test,
        "steps": done.steps,
        "worse": worse_in(rows, done.comparison.table),
        "rows": rows,
        "summary": done.comparison.table,
        "roles": asdict(done.roles),
        "predictions": {
            case: {
                "image": str(images[case]),
                **{name: str(files.predictions / case / f"{name}.nii.gz") for name in ("before", "after", "reference")},
            }
            for case in done.roles.test
        },
        "seconds": round(seconds, 1),
    }


def distil(files: RunFiles, settings: DistilSettings, data: Path, recorder: Recorder, cancel: CancelToken) -> None:
    """Run the stages of a recipe, or go on with them, and write ``result.json`` with the package if there is one."""
    from hlfd.cli.train import with_steps
    from hlfd.training.dataset_recipe import read_dataset_recipe
    from hlfd.training.dataset_run import run_dataset_recipe

    began = time.monotonic()
    recipe = localised(Path(settings.recipe), files.work)
    if settings.steps:
        recipe = with_steps(recipe, files.work, settings.steps)
    folder = run_dataset_recipe(
        *(recipe, data, list(settings.folds) or None, list(settings.stages) or None),
        on_event=recorder.on_event,
        cancel=cancel,
    )
    read = read_dataset_recipe(recipe)
    package = _package_at(folder / "package" / read.name / read.version, recorder.on_event)
    write_json(
        files.result,
        {
            "package": str(package.folder) if package else "",
            "name": read.name,
            "version": read.version,
            "base": "",
            "improved": True,
            "flattered": False,
            "worse": [],
            "rows": [],
            "summary": {},
            "predictions": {},
            "metrics": dict(package.metadata.get("metrics", {})) if package else {},
            "seconds": round(time.monotonic() - began, 1),
        },
    )


def localised(recipe: Path, folder: Path) -> Path:
    """Return a copy of a recipe that keeps everything under the run's folder."""
    import yaml

    from hlfd.config import read_yaml
    from hlfd.files import write_text

    values = read_yaml(recipe)
    values["folder"] = str(folder)
    copy = folder / "recipe.yaml"
    write_text(copy, yaml.safe_dump(values, sort_keys=False))
    return copy


def _package_at(folder: Path, on_event: OnEvent) -> ModelPackage | None:
    if not (folder / "model.json").is_file():
        return None  # only some stages were asked for
    on_event(Stage("package"))
    return load_package(folder)
