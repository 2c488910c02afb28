"""The cases of a labelled data set: found, checked, brought to the working grids, and split by patient."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hlfd.data.layouts import LAYOUTS, Case, find_cases
from hlfd.errors import ConfigError, EmptyInputError, InputError, MissingInputError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Warn, ignore
from hlfd.files import write_text
from hlfd.training.cases import CachedCase, cache_at_spacings, open_case
from hlfd.training.dataset_recipe import DataSet, DatasetRecipe

_NAMED = 5  # cases that a message names


@dataclass(frozen=True)
class Split:
    """Identifiers of the cases of one fold: trained on, chosen by, and never seen."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def list_cases(data_set: DataSet, path: Path) -> list[Case]:
    """Return the labelled cases of the data set at ``path`` in its layout.

    Raises ``InputError`` for another layout, for files without their partner, repeated identifiers and fewer
    patients than folds.
    """
    if not path.exists():
        raise MissingInputError(f'The data set "{path}" does not exist.', "Check the path given with --data.")
    cases = find_cases(path) if data_set.layout == "csv" and path.is_file() else _of_layout(data_set.layout, path)
    cases = [case for case in cases if case.id not in data_set.exclude]
    names = [case.id for case in cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f'"{path}" names {_some(repeated)} more than once.', "Give every case its own identifier.")
    _check_partners(cases, data_set.layout, path)
    patients = {patient_of(case.id, data_set) for case in cases}
    least = max(data_set.folds, 4)  # outside of a fold one patient to train on and one to choose weights by
    if len(patients) < least:
        raise InputError(
            f'"{path}" holds {len(patients)} patients; {data_set.folds} folds need at least {least}.',
            "Set folds lower, or give more cases.",
        )
    return cases


def _of_layout(layout: str, path: Path) -> list[Case]:
    cases = LAYOUTS[layout](path) if layout in LAYOUTS and path.is_dir() else []
    if cases:
        return cases
    fitting = [name for name, read in LAYOUTS.items() if path.is_dir() and read(path)]
    hint = f"It looks like the layout {fitting[0]}: take a recipe for it." if fitting else ""
    raise EmptyInputError(
        f'"{path}" holds no cases of the layout {layout}.', hint or "Give the folder that holds the cases."
    )


def _check_partners(cases: Sequence[Case], layout: str, path: Path) -> None:
    """Raise ``InputError`` for cases without image or label map, and for label maps without image."""
    faults = {
        "have no label map": [case.id for case in cases if case.label is None or not case.label.exists()],
        "have no image": [case.id for case in cases if not case.image.exists()],
    }
    used = {case.label for case in cases}
    pattern = {"lits": "**/segmentation-*.nii*", "nnunet": "labelsTr/[!.]*"}.get(layout)
    orphans = [file.name for file in sorted(path.glob(pattern)) if file not in used] if pattern else []
    faults["are label maps without an image"] = orphans
    found = [f"{_some(names)} {fault}" for fault, names in faults.items() if names]
    if found:
        raise InputError(
            f'The lists of images and label maps in "{path}" do not match: {"; ".join(found)}.',
            "Get the files again, or name these cases under exclude in the recipe.",
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def patient_of(name: str, data_set: DataSet) -> str:
    """Return the patient of a case by the recipe's expression; raise ``ConfigError`` where it does not fit."""
    if not data_set.patient:
        return name
    found = re.search(data_set.patient, name)
    if found is None:
        raise ConfigError(f'The expression "{data_set.patient}" finds no patient in the identifier "{name}".')
    return found[1]


def split_cases(names: Sequence[str], data_set: DataSet, seed: int) -> list[Split]:
    """Return the folds: patients shuffled by ``seed`` and dealt out, so that no patient is on two sides."""
    patients: dict[str, list[str]] = {}
    for name in sorted(names):
        patients.setdefault(patient_of(name, data_set), []).append(name)
    order = np.random.default_rng(seed).permutation(sorted(patients))
    parts = [sorted(map(str, order[fold :: data_set.folds])) for fold in range(data_set.folds)]
    splits = []
    for fold, part in enumerate(parts):
        rest = sorted(set(patients) - set(part))
        count = max(1, round(data_set.validation_share * len(rest)))
        rng = np.random.default_rng([seed, fold])
        chosen = set(map(str, rng.permutation(rest)[:count]))
        groups = ([p for p in rest if p not in chosen], sorted(chosen), part)
        train, validation, test = (tuple(name for p in group for name in patients[p]) for group in groups)
        splits.append(Split(train, validation, test))
    return splits


def prepared_folder(recipe: DatasetRecipe, spacing_mm: float) -> Path:
    """Return where the cases are kept at one spacing."""
    return recipe.folder / "prepared" / f"{spacing_mm:g}mm"


def prepare(
    recipe: DatasetRecipe, cases: Sequence[Case], on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> None:
    """Check all cases, bring them to the working grids and write ``splits.json``; what is done is not done again.

    Goes on after a bad case and raises ``InputError`` in the end that names all of them; the good ones stay prepared.
    """
    splits = check_splits(recipe, cases)

    def folders(case: Case) -> dict[float, Path]:
        return {spacing: prepared_folder(recipe, spacing) / case.id for spacing in recipe.spacings()}

    cache_all(cases, folders, recipe.data_set.values, on_event, cancel)
    write_text(recipe.folder / "splits.json", _splits_text(splits))


def cache_all(
    cases: Sequence[Case],
    folders: Callable[[Case], Mapping[float, Path]],
    known_values: Collection[int],
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> None:
    """Bring all cases to the working grids, in the folder that ``folders`` gives per spacing in mm.

    Goes on after a bad case and raises ``InputError`` in the end that names all of them; the good ones stay.
    """
    clock = ProgressClock(len(cases), on_event, cancel)
    bad: dict[str, str] = {}
    for case in cases:
        try:
            cache_at_spacings(case, folders(case), known_values, on_event)
        except InputError as error:
            bad[case.id] = error.message
            on_event(Warn(f"{case.id} cannot be used: {error.message}"))
        clock.advance()
    if bad:
        name, message = next(iter(bad.items()))
        raise InputError(
            f"{len(bad)} of {len(cases)} cases cannot be used: {_some(list(bad))}. {name}: {message}",
            "Correct them or leave them out (exclude in a recipe), and start again; the others stay prepared.",
        )


def check_splits(recipe: DatasetRecipe, cases: Sequence[Case]) -> list[Split]:
    """Return the folds; raise ``ConfigError`` where earlier runs in this folder had other ones."""
    splits = split_cases([case.id for case in cases], recipe.data_set, recipe.seed)
    path = recipe.folder / "splits.json"
    if path.is_file() and path.read_text(encoding="utf-8") != _splits_text(splits):
        raise ConfigError(
            f'The cases, folds or seed differ from those that earlier results in "{recipe.folder}" were made with.',
            "Choose another folder in the recipe, or delete splits.json and the folders fold* in this one.",
        )
    return splits


def read_splits(recipe: DatasetRecipe) -> list[Split]:
    """Return the folds of the prepared cases; raise ``ConfigError`` where they are not prepared yet."""
    path = recipe.folder / "splits.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f'"{path}" is missing.', "Run the stage prepare of the recipe first.") from error
    if len(rows) != recipe.data_set.folds:
        raise ConfigError(
            f'"{path}" has {len(rows)} folds, the recipe {recipe.data_set.folds}.', "Run the stage prepare again."
        )
    return [Split(*(tuple(row[part]) for part in ("train", "validation", "test"))) for row in rows]


def _splits_text(splits: Sequence[Split]) -> str:
    return json.dumps([asdict(split) for split in splits], indent=1)


def open_prepared(recipe: DatasetRecipe, role: str, names: Sequence[str]) -> list[CachedCase]:
    """Open prepared cases at the spacing of one network; raise ``ConfigError`` where they are not prepared yet."""
    folder = prepared_folder(recipe, recipe.networks[role].patch.spacing_mm)
    try:
        return [open_case(folder / name) for name in names]
    except FileNotFoundError as error:
        raise ConfigError(f'"{error.filename}" is missing.', "Run the stage prepare of the recipe first.") from error
