"""What the process of a fine-tuning does: the training itself, and its outcome. Needs torch."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hlfd.errors import UsageError
from hlfd.events import CancelToken
from hlfd.files import write_json
from hlfd.project import Project
from hlfd.project.project import PROJECT_FILE
from hlfd.runs.files import RunFiles, read_object
from hlfd.runs.outcome import rows_of, worse_in
from hlfd.runs.recorder import Recorder
from hlfd.runs.settings import RunSettings
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
        roles=kept_roles(files.folder / "roles.json", data, settings.seed),
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


def kept_roles(path: Path, data: Path, seed: int) -> Roles | None:
    """Return the roles that the run began with, whatever cases were added or given other roles since."""
    kept = read_object(path)
    if kept:
        return Roles(*(tuple(kept[name]) for name in ("train", "stop", "test")))
    roles = roles_of(data, seed)
    if roles is not None:
        write_json(path, asdict(roles))
    return roles


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
        "kind": "finetune",
        "project": str(files.folder.parents[1]),
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
