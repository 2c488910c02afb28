"""What a comparison is made of, read from one YAML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up, read_based_yaml
from hlfd.data.phantom_source import PatchSettings
from hlfd.data.pool import PoolSettings
from hlfd.distillation import DistillSettings
from hlfd.errors import ConfigError
from hlfd.networks.merge import channel_groups
from hlfd.training.settings import TrainSettings

PRIMARY = "tumor"
"""The structure by which methods are ranked, and whose differences between all pairs of them are given."""
_MASSES = (PRIMARY, "cyst")

_NO_EFFECT = ("seed", "device", "workers", "log_every", "checkpoint_every", "tensorboard")


@dataclass(frozen=True)
class StudentSettings:
    """The network that every method trains."""

    network: str
    """Name in ``NETWORKS``."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of its builder besides the channels."""
    initial: str = ""
    """Weights that every unit begins with instead of random ones: a safetensors file of the same network and classes,
    from a training run, a unit of another comparison or a package."""


@dataclass(frozen=True)
class TeacherSettings:
    """The trained network that guides; exactly one of ``weights``, ``package`` and ``recipe`` says where it is."""

    network: str = ""
    """With ``weights``: name in ``NETWORKS``."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """With ``weights``: parameters of the builder besides the channels."""
    weights: str = ""
    """A safetensors file with the training classes of the comparison, from a training run or a package."""
    package: str = ""
    """A model package: name, name/version, or folder."""
    role: str = "teacher"
    """With ``package``: ``teacher``, ``refiner`` or ``locator``."""
    recipe: str = ""
    """A recipe (YAML file) that was trained."""
    stage: str = "teacher"
    """With ``recipe``: ``teacher``, ``refiner`` or ``locator``."""

    def __post_init__(self) -> None:
        given = [name for name in ("weights", "package", "recipe") if getattr(self, name)]
        if len(given) != 1:
            raise ConfigError(f"The teacher names {' and '.join(given) or 'none'} of weights, package and recipe; one "
                              "was expected.")  # fmt: skip
        if self.weights and not self.network:
            raise ConfigError("The teacher's weights were given without its network.", "Add network and parameters.")
        for value, what in ((self.role, "role"), (self.stage, "stage")):
            look_up(value, ("teacher", "refiner", "locator"), f"{what} of the teacher")


@dataclass(frozen=True)
class PartSettings:
    """One part of the data: anatomies, and what is rendered from them once for all methods."""

    folder: Path
    """Where the anatomies are, or are made when they are missing."""
    pool: PoolSettings
    """Which anatomies."""
    patches: int = 0
    """Patches to render and keep. For training 0 means endless new patches with the teacher running beside."""
    context: int = 0
    """Voxels on every side of a patch that are rendered too: for training the teacher alone sees them, so that its
    outputs are not those at the border of an image; validation patches are larger by them."""
    margin_mm: float = 12.0
    """Test: margin in mm around organ and masses of the scored box."""
    seed: int = 0
    """Seed of patches or scans."""

    def __post_init__(self) -> None:
        if min(self.patches, self.context, self.margin_mm, self.seed) < 0:
            raise ConfigError("patches, context, margin_mm and seed must not be negative.")


@dataclass(frozen=True)
class BootstrapSettings:
    """How the intervals of the paired differences are found."""

    resamples: int = 10_000
    """Number of resamples."""
    level: float = 0.95
    """Share of the resamples inside the interval."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        if self.resamples < 100 or not 0 < self.level < 1:
            raise ConfigError("resamples must be at least 100 and level between 0 and 1.")


@dataclass(frozen=True)
class CompareSettings:
    """A comparison. Every method trains the same student with the same data, steps and seeds."""

    title: str
    """Headline of the report."""
    folder: Path
    """Where data, units and results go."""
    student: StudentSettings
    teacher: TeacherSettings
    classes: dict[str, list[str]]
    """Training classes of the teacher: name -> names of the phantom's labels it covers."""
    exported: dict[str, list[str]]
    """Classes of the result (an organ, tumor, perhaps cyst) -> training classes; the rest is merged into background."""
    auxiliary: bool
    """Whether the students learn all training classes; else the exported ones, the teacher's logits merged to them."""
    patch: PatchSettings
    train: PartSettings
    validation: PartSettings
    test: PartSettings
    training: TrainSettings
    """Steps, batch size, learning rate; ``seed`` is replaced by those of ``seeds``."""
    methods: dict[str, dict[str, Any]]
    """Name to show -> ``DistillSettings`` as a mapping, so that ablations of one method are entries too."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A seed fixes the student's first weights and the order of the patches."""
    baseline: str = "none"
    """Entry of ``methods`` that the differences refer to."""
    segmentation: str = "dice_ce"
    """Loss against the labels, the same for every method: ``dice_ce`` or ``focal_dice``."""
    class_weights: dict[str, float] = field(default_factory=dict)
    """With ``dice_ce``: weight of a training class; 1 where it is not named."""
    bootstrap: BootstrapSettings = field(default_factory=BootstrapSettings)
    notes: str = ""
    """A sentence or two for the report."""

    def __post_init__(self) -> None:
        look_up(self.baseline, list(self.methods), "baseline")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds is {list(self.seeds)}; different numbers from 0 were expected.")
        look_up(PRIMARY, list(self.exported), "exported class")
        if len(set(self.exported) - set(_MASSES)) != 1:
            raise ConfigError(f"exported is {list(self.exported)}; one organ beside tumor and cyst was expected.")
        for name, members in self.exported.items():
            for member in members:
                look_up(member, list(self.classes), f'training class under exported class "{name}"')
        if self.train.context and not self.train.patches:
            raise ConfigError("train.context needs kept patches.", "Set train.patches, or train.context: 0.")
        if self.validation.patches < 1:
            raise ConfigError(f"validation.patches is {self.validation.patches}; at least 1 was expected.")
        for name in self.class_weights:
            look_up(name, ["background", *self.learned()], "training class in class_weights")
        for name in self.methods:
            distill_settings(self, name, 0)
            if not name or name.startswith(".") or any(letter in '/\\:*?"<>|' for letter in name):
                raise ConfigError(f'"{name}" cannot name a method.', "Use letters, digits, spaces, +, - and _.")

    def learned(self) -> dict[str, list[str]]:
        """Return the classes that the students learn: name -> names of the phantom's labels."""
        if self.auxiliary:
            return self.classes
        return {
            name: [label for member in members for label in self.classes[member]]
            for name, members in self.exported.items()
        }

    def student_groups(self) -> list[list[int]]:
        """Return the students' channels merged into each exported class, background first."""
        return self.channel_groups() if self.auxiliary else [[i] for i in range(len(self.exported) + 1)]

    def channel_groups(self) -> list[list[int]]:
        """Return the teacher's channels merged into each exported class, background first."""
        return channel_groups(list(self.classes), self.exported)

    def unit_folder(self, name: str, seed: int) -> Path:
        """Return where the unit of one method and one seed lies."""
        return self.folder / "units" / name / f"seed_{seed}"


def structures(exported: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the structures that are scored -> exported classes whose union they are, as in KiTS and LiTS.

    Those are the tumor, the masses where there are cysts, and the organ with all that is in it.
    """
    names = list(exported)
    organ = next(name for name in names if name not in _MASSES)
    masses = {"masses": _MASSES} if "cyst" in names else {}
    return {PRIMARY: (PRIMARY,), **masses, organ: tuple(names)}


def distill_settings(settings: CompareSettings, name: str, seed: int) -> DistillSettings:
    """Return how the entry ``name`` of ``methods`` teaches; the loss against the labels is that of the comparison."""
    where = f'method "{name}"'
    for key in ("segmentation", "seed"):
        if key in settings.methods[name]:
            raise ConfigError(f"{where} sets {key}; it is the same for all methods.", "Set it at the top level.")
    values = {**settings.methods[name], "segmentation": settings.segmentation, "seed": seed}
    return from_mapping(DistillSettings, values, where)


def read_compare(path: Path) -> CompareSettings:
    """Read and check a comparison; raise ``ConfigError`` that names the key at fault."""
    return check_compare(read_based_yaml(path), f'comparison "{path}"')


def check_compare(values: dict[str, Any], where: str) -> CompareSettings:
    """Return the settings that ``values`` of a YAML file say; raise ``ConfigError`` that names the key at fault."""
    data = dict(values)
    parts: dict[str, type] = {"student": StudentSettings, "teacher": TeacherSettings, "patch": PatchSettings}
    parts |= {"training": TrainSettings, "bootstrap": BootstrapSettings}
    try:
        for name, cls in parts.items():
            if name in data:
                data[name] = from_mapping(cls, data[name], f"{where}, {name}")
        for name in ("train", "validation", "test"):
            data[name] = _part(data[name], f"{where}, {name}")
        data["folder"] = Path(data["folder"])
        for name, entry in data["methods"].items():
            if not isinstance(entry, dict):
                raise ConfigError(f'{where}: method "{name}" holds {entry!r}; distillation settings were expected.')
    except (KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{where} lacks or misstates {error}.", "Compare it with configs/compare/quick.yaml."
        ) from error
    return from_mapping(CompareSettings, data, where)


def _part(values: dict[str, Any], where: str) -> PartSettings:
    values = dict(values)
    values["pool"] = from_mapping(PoolSettings, values["pool"], f"{where}, pool")
    values["folder"] = Path(values["folder"])
    return from_mapping(PartSettings, values, where)


def plain_settings(settings: Any) -> dict[str, Any]:
    """Return settings as JSON values: paths as text, tuples as lists."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return values


def fingerprint(values: Any) -> str:
    """Return a short hash of plain values, to tell whether earlier results belong to the same settings."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def given(settings: Any) -> Any:
    """Return plain values of a settings dataclass without those at their defaults.

    So that results stay valid when a later version adds a setting.
    """
    if not is_dataclass(settings):
        return json.loads(json.dumps(settings, default=str))
    kept = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if default is MISSING or value != default:
            kept[one.name] = given(value)
    return kept


def data_key(settings: CompareSettings, teacher_sha: str) -> dict[str, Any]:
    """Return all that the kept patches and test scans depend on."""
    parts = {name: given(getattr(settings, name)) for name in ("train", "validation", "test")}
    for values in parts.values():
        del values["folder"]
    other = {name: given(getattr(settings, name)) for name in ("classes", "exported", "auxiliary", "patch", "student")}
    other["student"].pop("initial", None)
    return {**parts, **other, "teacher": teacher_sha}


def unit_key(
    settings: CompareSettings, name: str, seed: int, data: str, initial_sha: str | None = None
) -> dict[str, Any]:
    """Return all that one unit depends on: ``data`` is the fingerprint of the data, the student's first weights have
    the checksum ``initial_sha`` where they are not random."""
    training = given(settings.training)
    student = given(settings.student)
    if initial_sha:
        student["initial"] = initial_sha
    return {
        "method": given(settings.methods[name]),
        "student": student,
        "exported": given(settings.exported),
        "training": {key: value for key, value in training.items() if key not in _NO_EFFECT},
        "loss": [settings.segmentation, settings.class_weights],
        "seed": seed,
        "data": data,
    }
