"""What the process of a distillation from scratch does: the stages of a recipe, and their package. Needs torch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from hlfd.cli.train import with_steps
from hlfd.config import read_yaml
from hlfd.errors import UsageError
from hlfd.events import CancelToken
from hlfd.files import write_json, write_text
from hlfd.models.package import ModelPackage, load_package
from hlfd.project import Project
from hlfd.project.project import PROJECT_FILE
from hlfd.runs.files import RunFiles
from hlfd.runs.recorder import Recorder
from hlfd.runs.settings import DistilSettings
from hlfd.training.dataset_recipe import read_dataset_recipe
from hlfd.training.dataset_run import run_dataset_recipe

KEPT = "distilled"
_LEAST_PATIENTS = 4


def distil(files: RunFiles, settings: DistilSettings, data: Path, recorder: Recorder, cancel: CancelToken) -> None:
    """Run the stages of a recipe, or go on with them, and write ``result.json`` with the package if there is one.

    What the stages make is kept in the project's folder ``distilled``, so that a later run does the next ones.
    """
    began = time.monotonic()
    kept = files.folder.parents[1] / KEPT / Path(settings.recipe).stem
    recipe = localised(Path(settings.recipe), data, kept)
    if settings.steps:
        recipe = with_steps(recipe, kept, settings.steps)
    folder = run_dataset_recipe(
        *(recipe, data, list(settings.folds) or None, list(settings.stages) or None),
        on_event=recorder.on_event,
        cancel=cancel,
    )
    read = read_dataset_recipe(recipe)
    result = result_of(folder / "package" / read.name / read.version)
    seconds = round(time.monotonic() - began, 1)
    write_json(
        files.result,
        {
            "project": str(files.folder.parents[1]),
            **result,
            "name": read.name,
            "version": read.version,
            "seconds": seconds,
        },
    )


def localised(recipe: Path, data: Path, folder: Path) -> Path:
    """Return a copy of a recipe that keeps everything in ``folder``, and reads ``data`` also where it is a project."""
    values = read_yaml(recipe)
    values["folder"] = str(folder)
    if (data / PROJECT_FILE).is_file():
        values["data_set"] = of_project(dict(values.get("data_set") or {}), Project.open(data))
    copy = folder / "recipe.yaml"
    write_text(copy, yaml.safe_dump(values, sort_keys=False))
    return copy


def of_project(data_set: dict[str, Any], project: Project) -> dict[str, Any]:
    """Return what a recipe says of its data set, changed to the labels and the number of cases of a project.

    A structure of the recipe such as ``kidney`` is made of the labels that end so: left kidney and right kidney. Raises
    ``UsageError`` for structures that the project does not label, and for too few cases.
    """
    values = {
        name: [label.value for label in project.labels if label.name == name or label.name.endswith(f" {name}")]
        for name in data_set.get("label_values", {})
    }
    lacking = [name for name, found in values.items() if not found]
    if lacking:
        known = ", ".join(label.name for label in project.labels)
        raise UsageError(
            f"The recipe wants {', '.join(lacking)}; the project labels {known}.", "Choose a recipe for these labels."
        )
    count = sum(case.role != "unused" for case in project.cases)
    if count < _LEAST_PATIENTS:
        raise UsageError(
            f"The project has {count} cases in use; a student can be distilled from scratch on {_LEAST_PATIENTS} or "
            "more, better on a hundred.",
            "Add cases, or fine-tune a student that is there.",
        )
    return {**data_set, "layout": "project", "label_values": values, "folds": min(int(data_set.get("folds", 5)), count)}


def result_of(folder: Path) -> dict[str, Any]:
    """Return the outcome: the package, where the stages that were asked for made it, and its own measurements."""
    package: ModelPackage | None = load_package(folder) if (folder / "model.json").is_file() else None
    return {
        "kind": "distil",
        "package": str(package.folder) if package else "",
        "base": "",
        "improved": None,
        "flattered": False,
        "worse": [],
        "rows": [],
        "summary": {},
        "predictions": {},
        "metrics": dict(package.metadata.get("metrics", {})) if package else {},
    }
