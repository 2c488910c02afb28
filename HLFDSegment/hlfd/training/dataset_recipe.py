"""A recipe for people with a labelled data set: from its folder to a cross-validated model package.

``hlfd train kits23 --data /path/to/kits23`` runs it. It shares the networks, the training settings
and the package with the recipes on simulated CT; see ``DataSet`` for what it says about the data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up, read_yaml
from hlfd.data.layouts import LAYOUTS
from hlfd.errors import ConfigError
from hlfd.training.case_source import CasePatches
from hlfd.training.recipe import NetworkRecipe, PackageRecipe, missing, read_networks
from hlfd.training.teacher_cache import CacheSettings

DATASET_STAGES = ("prepare", "locator", "teacher", "cache", "distil", "evaluate", "package")
ROLE_OF_STAGE = {"locator": "locator", "teacher": "teacher", "distil": "refiner"}
"""Role in the package, and folder, of the network that a stage trains."""
NO_AUGMENTATION = {"rotation_deg": 0.0, "scale": (1.0, 1.0), "gain": 0.0, "shift_hu": 0.0, "noise_hu": 0.0}
"""What patches with cached teacher outputs must say: the outputs belong to the image as it is, mirrored at most."""


@dataclass(frozen=True)
class DataSet:
    """A labelled data set, what its label values mean, and how its patients are split."""

    layout: str
    """Layout of the folder: a name in ``LAYOUTS``, or ``csv`` for a file of image,label pairs."""
    label_values: dict[str, tuple[int, ...]]
    """Names of structures and their values in the label maps; the networks' ``classes`` are made of these names."""
    path: str | None = None
    """The folder or CSV file; ``--data`` on the command line replaces it."""
    folds: int = 5
    """Parts of the cross-validation; a patient is in one of them."""
    validation_share: float = 0.1
    """Share of the patients outside of a fold on which its best weights are chosen (at least one patient)."""
    patient: str = ""
    """Regular expression whose first group, found in a case's identifier, names its patient; empty: one case each."""
    exclude: tuple[str, ...] = ()
    """Identifiers of cases that are left out."""

    def __post_init__(self) -> None:
        look_up(self.layout, [*LAYOUTS, "csv"], "layout")
        values = [value for members in self.label_values.values() for value in members]
        if not values or len(set(values)) != len(values) or not all(0 < value < 256 for value in values):
            raise ConfigError(
                f"label_values is {self.label_values}; names with values from 1 to 255, each value once, were expected."
            )
        if self.folds < 2:
            raise ConfigError(f"folds is {self.folds}; at least 2 were expected.")
        if not 0 < self.validation_share < 1:
            raise ConfigError(f"validation_share is {self.validation_share}; a share between 0 and 1 was expected.")
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise ConfigError(f'patient "{self.patient}" is no regular expression: {error}.') from error
        if self.patient and groups != 1:
            raise ConfigError(f'patient "{self.patient}" has {groups} groups; one, around the patient, was expected.')

    @property
    def values(self) -> list[int]:
        """All label values that the maps may hold."""
        return sorted(value for members in self.label_values.values() for value in members)


@dataclass(frozen=True)
class DatasetRecipe(PackageRecipe):
    """A package from a labelled data set, in the order of ``DATASET_STAGES``."""

    data_set: DataSet = field(default_factory=missing("data_set"))
    cache: CacheSettings | None = None
    """How teacher outputs are kept; None runs the teacher beside the student, with all augmentation."""
    package_fold: int = 0
    """Fold whose networks go into the package; its own part of the patients was never seen by them."""

    def __post_init__(self) -> None:
        if "refiner" not in self.networks:
            raise ConfigError("The recipe has no refiner, which is the student.", "Add it under networks.")
        if not 0 <= self.package_fold < self.data_set.folds:
            raise ConfigError(f"package_fold is {self.package_fold}; 0 to {self.data_set.folds - 1} was expected.")
        for role, entry in self.networks.items():
            for name, members in entry.classes.items():
                for member in members:
                    look_up(member, list(self.data_set.label_values), f'label under class "{name}" of the {role}')
        super().__post_init__()
        if self.cached:
            check_augmentation(self.networks["refiner"])

    @property
    def cached(self) -> bool:
        """Whether the student learns from cached teacher outputs."""
        return self.cache is not None and self.networks["refiner"].guided

    def class_of(self, role: str) -> dict[int, int]:
        """Return the training class of each label value for one network; 0 where it takes no part."""
        table = dict.fromkeys(self.data_set.values, 0)
        for index, members in enumerate(self.networks[role].classes.values(), start=1):
            for member in members:
                table.update(dict.fromkeys(self.data_set.label_values[member], index))
        return table

    def spacings(self) -> list[float]:
        """Return the spacings in mm at which cases are kept."""
        return sorted({entry.patch.spacing_mm for entry in self.networks.values()})


def check_augmentation(student: NetworkRecipe) -> None:
    """Raise ``ConfigError`` for augmentation that cached teacher outputs cannot follow."""
    wrong = [name for name, value in NO_AUGMENTATION.items() if getattr(student.patch, name) != value]
    if wrong:
        raise ConfigError(
            f"The refiner's patches are varied by {', '.join(wrong)}, which cached teacher outputs cannot follow.",
            "Set them to 0 (scale to [1, 1]) and keep flip_share, or remove cache to run the teacher beside it.",
        )


def is_dataset_recipe(path: Path) -> bool:
    """Return whether the recipe trains on a labelled data set rather than on simulated CT."""
    return "data_set" in read_yaml(path)


def read_dataset_recipe(path: Path) -> DatasetRecipe:
    """Read and check a recipe on a labelled data set; raise ``ConfigError`` that names the key at fault."""
    data = read_yaml(path)
    where = f'recipe "{path}"'
    try:
        data["data_set"] = read_data_set(data["data_set"], where)
        data["networks"] = read_networks(data["networks"], CasePatches, where, tuple(ROLE_OF_STAGE.values()))
        if data.get("cache") is not None:
            data["cache"] = from_mapping(CacheSettings, data["cache"], f"{where}, cache")
        data["folder"] = Path(data["folder"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{where} lacks or misstates {error}.", "Compare it with the recipe kits23 that ships."
        ) from error
    return from_mapping(DatasetRecipe, data, where)


def read_data_set(values: dict[str, Any], where: str) -> DataSet:
    """Return what the recipe called ``where`` says about its data set; raise ``ConfigError`` for a wrong key."""
    label_values = {str(name): tuple(members) for name, members in values["label_values"].items()}
    return from_mapping(DataSet, {**values, "label_values": label_values}, f"{where}, data_set")
