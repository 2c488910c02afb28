"""``hlfd train RECIPE``: from a recipe to a model package, resuming where an earlier run stopped."""

from __future__ import annotations

import argparse
import io
import shutil
from functools import partial
from pathlib import Path

from hlfd.cli.console import Console
from hlfd.cli.phantom import require_torch
from hlfd.errors import OutputError, UsageError
from hlfd.events import CancelToken
from hlfd.models.resources import find_recipe
from hlfd.ranks import current_ranks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "config",
        metavar="RECIPE",
        help="recipe file, such as configs/kidney/kidney.yaml, or a shipped one: kits23, lits, msd-liver",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on where an earlier run stopped (the default)")
    start.add_argument("--fresh", action="store_true", help="delete what earlier runs of these stages trained")
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these stages of the recipe")
    parser.add_argument("--steps", type=int, help="train every network for this many steps, for a quick trial")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data set of a recipe on labelled cases")
    parser.add_argument("--fold", type=int, nargs="+", metavar="N", help="only these folds of such a recipe")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the recipe and return the exit code."""
    require_torch("Training")
    args.config = find_recipe(args.config)
    from hlfd.training.dataset_recipe import is_dataset_recipe
    from hlfd.training.slice_recipe import is_slice_recipe

    if not current_ranks().main:
        console = Console(io.StringIO(), io.StringIO())  # of several processes the main one tells what happens
    run_it = _run_dataset if is_dataset_recipe(args.config) else _run_simulated
    run_it = _run_slices if is_slice_recipe(args.config) else run_it
    stages, folder = run_it(args, console, cancel)
    console.say(f"Done; results are in {folder}")
    console.result({"command": "train", "config": args.config, "stages": stages, "folder": folder})
    return 0


def _run_simulated(args: argparse.Namespace, console: Console, cancel: CancelToken) -> tuple[list[str], Path]:
    from hlfd.config import look_up
    from hlfd.training.recipe import STAGES, read_recipe
    from hlfd.training.run import run_recipe

    if args.data is not None or args.fold:
        raise UsageError("--data and --fold belong to recipes on labelled cases; this one simulates its data.")
    recipe = read_recipe(args.config)
    stages = [look_up(stage, list(STAGES), "stage") for stage in args.stages or STAGES]
    if args.fresh:
        _forget([recipe.folder / stage for stage in stages if stage in recipe.networks])
    path = args.config if args.steps is None else with_steps(args.config, recipe.folder, args.steps)
    return stages, run_recipe(path, stages, console.on_event, cancel)


def _run_dataset(args: argparse.Namespace, console: Console, cancel: CancelToken) -> tuple[list[str], Path]:
    from hlfd.config import look_up
    from hlfd.training.dataset_recipe import DATASET_STAGES, ROLE_OF_STAGE, read_dataset_recipe
    from hlfd.training.dataset_run import run_dataset_recipe

    recipe = read_dataset_recipe(args.config)
    stages = [look_up(stage, list(DATASET_STAGES), "stage") for stage in args.stages or DATASET_STAGES]
    if args.fresh:
        names = [ROLE_OF_STAGE.get(stage, stage) for stage in stages if stage not in ("prepare", "package")]
        folds = args.fold or range(recipe.data_set.folds)
        _forget([recipe.folder / f"fold{fold}" / name for fold in folds for name in names])
    path = args.config if args.steps is None else with_steps(args.config, recipe.folder, args.steps)
    return stages, run_dataset_recipe(path, args.data, args.fold, args.stages, console.on_event, cancel)


def _run_slices(args: argparse.Namespace, console: Console, cancel: CancelToken) -> tuple[list[str], Path]:
    from hlfd.config import look_up
    from hlfd.training.slice_recipe import SLICE_STAGES, read_slice_recipe
    from hlfd.training.slice_run import run_slice_recipe

    recipe = read_slice_recipe(args.config)
    stages = [look_up(stage, list(SLICE_STAGES), "stage") for stage in args.stages or SLICE_STAGES]
    if args.fresh:
        made = {"teacher": ["teacher"], "distil": recipe.students, "evaluate": ["evaluate"]}
        names = [name for stage in stages for name in made.get(stage, [])]
        _forget([recipe.folder / f"fold{fold}" / name for fold in args.fold or (0,) for name in names])
    folder = run_slice_recipe(args.config, args.data, args.fold, stages, args.steps, console.on_event, cancel)
    return stages, folder


def _forget(folders: list[Path]) -> None:
    """Delete what stages made; the pool of anatomies and prepared cases do not depend on training and stay."""
    from hlfd.training.distributed import on_main

    on_main(partial(_delete, folders))()


def _delete(folders: list[Path]) -> None:
    for folder in folders:
        try:
            if folder.is_dir():
                shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(f'"{folder}" cannot be deleted: {error.strerror}.') from error


def with_steps(config: Path, folder: Path, steps: int) -> Path:
    """Write a copy of the recipe with another number of steps into its folder, so that it records what was run."""
    if steps < 1:
        raise UsageError(f"--steps is {steps}; at least 1 was expected.")
    import yaml

    from hlfd.cli.single import make_folder
    from hlfd.files import write_text
    from hlfd.training.recipe import recipe_values

    data = recipe_values(config)
    for network in data["networks"].values():
        network["training"]["steps"] = steps
    make_folder(folder)
    copy = folder / f"{config.stem}-{steps}-steps.yaml"
    write_text(copy, yaml.safe_dump(data, sort_keys=False))
    return copy
