"""A recipe: one YAML file from anatomies to a model package. ``hlfd train RECIPE`` runs it, stage by stage.

Every stage keeps its result under the recipe's folder and is skipped or resumed when the recipe is run again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up, read_yaml
from hlfd.data.phantom_source import PatchSettings
from hlfd.data.pool import PoolSettings
from hlfd.errors import ConfigError
from hlfd.training.settings import TrainSettings

NETWORK_STAGES = ("locator", "refiner", "teacher")
STAGES = ("pool", *NETWORK_STAGES, "package", "assess")


@dataclass(frozen=True)
class NetworkRecipe:
    """How one network of the package is built and trained."""

    network: str
    """Name in ``NETWORKS``."""
    patch: PatchSettings
    """Training patches: spacing, size, HU windows, where they are taken."""
    classes: dict[str, list[str]]
    """Training classes: name -> names of the phantom's labels it covers; all other labels are background."""
    exported: dict[str, list[str]]
    """Classes of the package: name -> training classes merged into it; the rest is merged into background."""
    training: TrainSettings
    """Steps, batch size, learning rate and so on."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the network's builder besides its channels."""
    class_weights: dict[str, float] = field(default_factory=dict)
    """Weight of a training class in the cross entropy; 1 where it is not named."""
    initial: str | None = None
    """Weights of a package to begin with instead of random ones: a safetensors file with the same training classes."""

    def __post_init__(self) -> None:
        for name, members in self.exported.items():
            for member in members:
                look_up(member, list(self.classes), f'training class under exported class "{name}"')
        for name in self.class_weights:
            look_up(name, ["background", *self.classes], "training class in class_weights")

    def channel_groups(self) -> list[list[int]]:
        """Return the training channels merged into each exported channel, background first."""
        index = {name: i for i, name in enumerate(self.classes, start=1)}
        groups = [[index[member] for member in members] for members in self.exported.values()]
        used = {i for group in groups for i in group}
        return [[i for i in range(len(self.classes) + 1) if i not in used], *groups]


@dataclass(frozen=True)
class Recipe:
    """All that makes a package, in the order of ``STAGES``."""

    name: str
    version: str
    title: str
    task: str
    folder: Path
    labels: str
    train: PoolSettings
    validation: PoolSettings
    test: PoolSettings
    networks: dict[str, NetworkRecipe]
    region: dict[str, Any]
    licence: str
    notice: str
    demonstration: bool = True
    seed: int = 0
    workers: int = 1
    validation_patches: int = 24


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; raise ``ConfigError`` that names the key at fault."""
    data = read_yaml(path)
    where = f'recipe "{path}"'
    try:
        for pool in ("train", "validation", "test"):
            data[pool] = from_mapping(PoolSettings, _tuples(data[pool]), f"{where}, {pool}")
        networks = {}
        for name, entry in data["networks"].items():
            look_up(name, NETWORK_STAGES, f"network in {where}")
            entry["patch"] = from_mapping(PatchSettings, _tuples(entry["patch"]), f"{where}, {name}, patch")
            entry["training"] = from_mapping(TrainSettings, _tuples(entry["training"]), f"{where}, {name}, training")
            networks[name] = from_mapping(NetworkRecipe, entry, f"{where}, {name}")
        data["networks"] = networks
        data["folder"] = Path(data["folder"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{where} lacks or misstates {error}.", "Compare it with configs/kidney/kidney.yaml."
        ) from error
    return from_mapping(Recipe, data, where)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return the mapping with lists, also nested ones, as tuples: the type of frozen settings."""

    def convert(value: Any) -> Any:
        return tuple(convert(v) for v in value) if isinstance(value, list) else value

    return {name: convert(value) for name, value in values.items()}
