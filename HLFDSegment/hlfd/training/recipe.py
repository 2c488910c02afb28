"""A recipe: one YAML file from anatomies to a model package. ``hlfd train RECIPE`` runs it, stage by stage.

Every stage keeps its result under the recipe's folder and is skipped or resumed when the recipe is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up, read_based_yaml
from hlfd.data.phantom_source import PatchSettings
from hlfd.data.pool import PoolSettings
from hlfd.distillation import DistillSettings
from hlfd.errors import ConfigError
from hlfd.inference.quality import MIN_CONFIDENCE
from hlfd.networks.merge import channel_groups
from hlfd.training.case_source import CasePatches
from hlfd.training.lesion_weights import SmallLesions
from hlfd.training.settings import TrainSettings

NETWORK_STAGES = ("locator", "undistilled", "teacher", "refiner")
"""``undistilled`` is the refiner as labels alone teach it, for the viewer beside teacher and student."""
STAGES = ("pool", *NETWORK_STAGES, "package", "quality", "assess")


@dataclass(frozen=True)
class NetworkRecipe:
    """How one network of the package is built and trained."""

    network: str
    """Name in ``NETWORKS``."""
    patch: PatchSettings | CasePatches
    """Training patches: spacing, size, HU windows, where they are taken."""
    classes: dict[str, list[str]]
    """Training classes: name -> labels it covers, of the phantom (or its tissues) or of the data set; all others are
    background."""
    exported: dict[str, list[str]]
    """Classes of the package: name -> training classes merged into it; the rest is merged into background."""
    training: TrainSettings
    """Steps, batch size, learning rate and so on."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the network's builder besides its channels."""
    class_weights: dict[str, float] = field(default_factory=dict)
    """Weight of a training class in the cross entropy; 1 where it is not named."""
    small_lesions: SmallLesions | None = None
    """Whether small lesions count more in the cross entropy; None counts every voxel alike."""
    logit_shift: dict[str, float] = field(default_factory=dict)
    """What the package's network adds to the logit of a training class, chosen on validation scans: a network that sees
    few voxels of lesions is cautious with them."""
    distillation: DistillSettings | None = None
    """How the recipe's teacher guides this network; None trains on labels alone."""
    initial: str | None = None
    """Weights to begin with instead of random ones: a package's safetensors file of the same network, or the name of
    another network of the recipe that is trained before this one, as whose function this begins where it is wider."""
    keep_share: float = 1.0
    """What is kept of the change from the network of the recipe that this one goes on from, weight by weight."""
    initial_classes: tuple[str, ...] | None = None
    """Training classes of ``initial`` in their order where they are not ``classes``: those of the same name go on from
    its channels, the others begin with random ones."""
    initial_parameters: dict[str, Any] | None = None
    """Parameters of the network of ``initial`` where that is narrower than this one, which begins as its function."""

    def __post_init__(self) -> None:
        for name, members in self.exported.items():
            for member in members:
                look_up(member, list(self.classes), f'training class under exported class "{name}"')
        for name in self.class_weights:
            look_up(name, ["background", *self.classes], "training class in class_weights")
        for name in self.small_lesions.classes if self.small_lesions else ():
            look_up(name, list(self.classes), "training class in small_lesions")
        for name in self.logit_shift:
            look_up(name, list(self.classes), "training class in logit_shift")
        if self.training.steps == 0 and self.initial is None:
            raise ConfigError("training has 0 steps and no initial weights.", "Give it steps, or name initial.")
        if not 0 < self.keep_share <= 1 or (self.keep_share < 1 and self.initial not in NETWORK_STAGES):
            raise ConfigError(
                f"keep_share is {self.keep_share}; above 0 to 1 was expected, and 1 where initial names no network."
            )
        for name in ("initial_classes", "initial_parameters"):
            if getattr(self, name) is not None and self.initial is None:
                raise ConfigError(f"{name} is given without initial.", "Name the weights that it describes.")
        if self.initial_classes is not None and self.initial_parameters is not None:
            raise ConfigError("initial_classes and initial_parameters are both given; one of them was expected.")

    @property
    def guided(self) -> bool:
        """Whether a method of the distillation reads the teacher."""
        return self.distillation is not None and self.distillation.guided

    def channel_groups(self) -> list[list[int]]:
        """Return the training channels merged into each exported channel, background first."""
        return channel_groups(list(self.classes), self.exported)


def missing(name: str) -> Callable[[], Any]:
    """Return the default of a dataclass field that must be given although the fields before it have defaults."""

    def refuse() -> Any:
        raise ConfigError(f'The recipe lacks the key "{name}".', "Compare it with those in configs/.")

    return refuse


def check_teacher(student: NetworkRecipe, teacher: NetworkRecipe | None, role: str) -> None:
    """Raise ``ConfigError`` unless the teacher sees what the student sees and answers with the same classes."""
    if teacher is None:
        raise ConfigError(f"The {role} is distilled, but the recipe has no teacher.", "Add it under networks.")
    for name, own, other in (
        ("classes", list(student.classes.items()), list(teacher.classes.items())),
        ("spacing_mm", student.patch.spacing_mm, teacher.patch.spacing_mm),
        ("windows", student.patch.windows, teacher.patch.windows),
    ):
        if own != other:
            raise ConfigError(
                f"The {role} and its teacher differ in {name}: {own} and {other}.", f"Give both the same {name}."
            )


def check_going_on(networks: dict[str, NetworkRecipe], role: str, initial: str) -> None:
    """Raise ``ConfigError`` unless the network ``role`` can go on from the network ``initial`` of the same recipe."""
    entry, before = networks[role], networks.get(initial)
    if before is None or NETWORK_STAGES.index(initial) >= NETWORK_STAGES.index(role):
        raise ConfigError(
            f"The {role} goes on from the network {initial}, which the recipe does not train before it.",
            f"Add {initial} under networks, or name a file; the order is {', '.join(NETWORK_STAGES)}.",
        )
    if entry.initial_classes is not None or entry.initial_parameters is not None:
        raise ConfigError(f"The {role} goes on from {initial} as it is; remove initial_classes or initial_parameters.")
    for name in ("network", "classes"):
        if getattr(entry, name) != getattr(before, name):
            raise ConfigError(f"The {role} and {initial}, from which it goes on, differ in {name}.")


@dataclass(frozen=True)
class PackageRecipe:
    """What every recipe says, whatever its networks are trained on."""

    name: str
    version: str
    title: str
    task: str
    folder: Path
    labels: str
    """Label table of the package: ``kidney`` or ``liver``."""
    networks: dict[str, NetworkRecipe]
    region: dict[str, Any]
    licence: str
    notice: str
    demonstration: bool = True
    seed: int = 0
    workers: int = 1
    validation_patches: int = 24

    def __post_init__(self) -> None:
        for role, entry in self.networks.items():
            if entry.guided:
                check_teacher(entry, self.networks.get("teacher"), role)
            if entry.initial in NETWORK_STAGES:
                check_going_on(self.networks, role, entry.initial)


@dataclass(frozen=True)
class Recipe(PackageRecipe):
    """A package from simulated CT, in the order of ``STAGES``."""

    train: PoolSettings = field(default_factory=missing("train"))
    validation: PoolSettings = field(default_factory=missing("validation"))
    test: PoolSettings = field(default_factory=missing("test"))
    train_also: tuple[PoolSettings, ...] = ()
    """Further patients of the training, such as healthier ones, who are drawn as often as those of ``train``; a file
    names one pool or a list of them."""
    quality_patients: int = 2
    """Patients per validation case whose scans the quality signal is fitted on."""
    min_confidence: float = MIN_CONFIDENCE
    """The package leaves out lesions that are true with less than this probability, chosen on validation scans."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence is {self.min_confidence}; a value from 0 to 1 was expected.")


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe; raise ``ConfigError`` that names the key at fault."""
    data = recipe_values(path)
    where = f'recipe "{path}"'
    try:
        for pool in ("train", "validation", "test"):
            data[pool] = from_mapping(PoolSettings, data[pool], f"{where}, {pool}")
        also = data.pop("train_also", None) or []
        also = also if isinstance(also, list) else [also]
        data["train_also"] = tuple(from_mapping(PoolSettings, pool, f"{where}, train_also") for pool in also)
        data["networks"] = read_networks(data["networks"], PatchSettings, where)
        data["folder"] = Path(data["folder"])
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{where} lacks or misstates {error}.", "Compare it with configs/kidney/kidney.yaml."
        ) from error
    return from_mapping(Recipe, data, where)


def recipe_values(path: Path) -> dict[str, Any]:
    """Return what a recipe's file says.

    Its key ``base`` names a recipe beside it, whose keys it replaces, and under ``networks`` the keys of each network.
    """
    return read_based_yaml(path, _over)


def _over(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe's mapping over that of its base, network by network."""
    networks = {**base.get("networks", {})}
    for role, entry in (own.get("networks") or {}).items():
        networks[role] = {**networks.get(role, {}), **entry}
    return {**base, **own, "networks": networks}


def read_networks(
    entries: dict[str, Any],
    patches: type[PatchSettings | CasePatches],
    where: str,
    roles: tuple[str, ...] = NETWORK_STAGES,
) -> dict[str, NetworkRecipe]:
    """Return the networks of a recipe by role; raise ``ConfigError`` for a wrong key or a role not among ``roles``."""
    networks = {}
    for name, entry in entries.items():
        look_up(name, roles, f"network in {where}")
        patch: Any = from_mapping(patches, entry["patch"], f"{where}, {name}, patch")
        training = from_mapping(TrainSettings, entry["training"], f"{where}, {name}, training")
        values = {**entry, "patch": patch, "training": training}
        for key, settings in (("distillation", DistillSettings), ("small_lesions", SmallLesions)):
            if entry.get(key) is not None:
                values[key] = from_mapping(settings, entry[key], f"{where}, {name}, {key}")
        networks[name] = from_mapping(NetworkRecipe, values, f"{where}, {name}")
    return networks
