"""A recipe of the papers' kind: two-dimensional teacher and students on axial slices of a labelled data set.

``hlfd train configs/papers/hlfd-kits.yaml --data /path/to/kits19`` runs it. Data set, training and distillation are
said as in the recipes for three-dimensional models; the key ``slices`` makes the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up, read_yaml
from hlfd.data.slices import SliceSettings
from hlfd.distillation import DistillSettings
from hlfd.errors import ConfigError
from hlfd.training.dataset_recipe import DataSet, read_data_set
from hlfd.training.settings import TrainSettings

SLICE_STAGES = ("prepare", "teacher", "distil", "evaluate")
TEACHER = "teacher"
"""Name of the network that guides the others; all other networks are students."""


@dataclass(frozen=True)
class SliceNetwork:
    """How one network is built and trained."""

    network: str
    """Name in ``NETWORKS``."""
    training: TrainSettings
    """Batch size, learning rate and so on; ``epochs`` sets its steps."""
    epochs: int = 0
    """Passes over all training slices, with a validation and a checkpoint after each; 0 leaves that to ``training``."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the network's builder besides its channels."""
    distillation: DistillSettings = field(
        default_factory=lambda: DistillSettings(methods=("none",), segmentation="focal_dice")
    )
    """The loss against the labels, and how the teacher guides this network."""

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"epochs is {self.epochs}; 0 or more was expected.")

    @property
    def guided(self) -> bool:
        """Whether a method of the distillation reads the teacher."""
        return self.distillation.guided

    def settings(self, slices: int, steps: int | None = None) -> TrainSettings:
        """Return the training settings for ``slices`` slices per epoch, or for ``steps`` steps in a quick trial."""
        if steps is not None:
            return replace(self.training, steps=steps, validate_every=0)
        if not self.epochs:
            return self.training
        per_epoch = max(1, slices // self.training.batch_size)
        total = math.ceil(self.epochs * slices / self.training.batch_size)
        return replace(self.training, steps=total, validate_every=per_epoch, checkpoint_every=per_epoch)


@dataclass(frozen=True)
class SliceRecipe:
    """All that makes the networks of a paper, in the order of ``SLICE_STAGES``."""

    name: str
    folder: Path
    data_set: DataSet
    slices: SliceSettings
    networks: dict[str, SliceNetwork]
    title: str = ""
    seed: int = 0
    """Seed of the split by patient, and of the order and variation of slices."""

    def __post_init__(self) -> None:
        for name in self.slices.target:
            look_up(name, list(self.data_set.label_values), "label under target")
        guided = [name for name, entry in self.networks.items() if entry.guided]
        if TEACHER in guided:
            raise ConfigError("The teacher is distilled from itself.", "Give its distillation methods: [none].")
        if guided and TEACHER not in self.networks:
            raise ConfigError(f"{guided[0]} is distilled, but the recipe has no teacher.", "Add it under networks.")
        if not self.students:
            raise ConfigError("The recipe has no student.", "Add one under networks.")

    @property
    def students(self) -> list[str]:
        """Names of all networks but the teacher."""
        return [name for name in self.networks if name != TEACHER]

    @property
    def target_values(self) -> list[int]:
        """Label values of the target."""
        return sorted(value for name in self.slices.target for value in self.data_set.label_values[name])


def is_slice_recipe(path: Path) -> bool:
    """Return whether the recipe trains two-dimensional networks on slices."""
    return "slices" in read_yaml(path)


def read_slice_recipe(path: Path) -> SliceRecipe:
    """Read and check a recipe on slices; raise ``ConfigError`` that names the key at fault."""
    data = read_yaml(path)
    where = f'recipe "{path}"'
    try:
        data["data_set"] = read_data_set(data["data_set"], where)
        data["slices"] = from_mapping(SliceSettings, data["slices"], f"{where}, slices")
        data["networks"] = {str(name): _network(entry, f"{where}, {name}") for name, entry in data["networks"].items()}
        data["folder"] = Path(data["folder"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{where} lacks or misstates {error}.", "Compare it with configs/papers/hlfd-kits.yaml."
        ) from error
    return from_mapping(SliceRecipe, data, where)


def _network(entry: dict[str, Any], where: str) -> SliceNetwork:
    values = {**entry, "training": from_mapping(TrainSettings, entry["training"], f"{where}, training")}
    if "distillation" in entry:
        values["distillation"] = from_mapping(DistillSettings, entry["distillation"], f"{where}, distillation")
    return from_mapping(SliceNetwork, values, where)
