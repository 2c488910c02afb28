"""Which methods teach the student, with which weights and parameters; read from YAML."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlfd.config import look_up
from hlfd.errors import ConfigError

METHOD_NAMES = (
    *("hlfd-released", "hlfd", "mskd", "emkd"),
    *("none", "kd", "fitnet", "at", "cwd", "dist", "reviewkd", "skd", "ifvd", "dkd", "cirkd"),
)
SEGMENTATION_LOSSES = ("dice_ce", "focal_dice")
_GIVEN = ("self", "student", "teacher", "classes", "spatial_dims")


@dataclass(frozen=True)
class MethodEntry:
    """One method of the list: its name, the weight of all its terms, and its own parameters."""

    name: str
    weight: float
    parameters: dict[str, Any]


@dataclass(frozen=True)
class DistillSettings:
    """How a student is taught. The total loss is the segmentation loss plus the weighted terms of all methods."""

    methods: tuple[str | Mapping[str, Any], ...] = ("hlfd",)
    """Names, or mappings with ``name``, ``weight`` (1.0 unless given) and the method's own parameters."""
    segmentation: str = "dice_ce"
    """Loss against the labels: ``dice_ce``, or ``focal_dice``, the one of the HLFD paper."""
    segmentation_weight: float = 1.0
    """Weight of the loss against the labels."""
    seed: int = 0
    """Seed of the first values of trained projections."""

    def __post_init__(self) -> None:
        look_up(self.segmentation, SEGMENTATION_LOSSES, "segmentation loss")
        if not _is_number(self.segmentation_weight) or self.segmentation_weight < 0:
            raise ConfigError(f"segmentation_weight is {self.segmentation_weight}; 0 or more was expected.")
        if isinstance(self.methods, (str, Mapping)):
            object.__setattr__(self, "methods", (self.methods,))
        if not isinstance(self.methods, (list, tuple)) or not self.methods:
            raise ConfigError(
                f"methods is {self.methods!r}; a list of methods was expected.", 'Name "none" for no distillation.'
            )
        object.__setattr__(self, "methods", tuple(self.methods))
        _ = self.entries()

    @property
    def guided(self) -> bool:
        """Whether a method reads the teacher."""
        return any(entry.name != "none" for entry in self.entries())

    def entries(self) -> list[MethodEntry]:
        """Return the checked list; unknown names and parameters raise ``ConfigError`` with the nearest known one."""
        return [_entry(method) for method in self.methods]


def _entry(given: Any) -> MethodEntry:
    values: Any = {"name": given} if isinstance(given, str) else given
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise ConfigError(
            f"A method of the list is {given!r}; a name or a mapping with name, weight and parameters was expected."
        )
    name = look_up(values["name"], METHOD_NAMES, "method")
    known = method_parameters(name)
    for key in values:
        look_up(str(key), ["name", "weight", *known], f'key of method "{name}"')
    weight = values.get("weight", 1.0)
    if not _is_number(weight) or weight < 0:
        raise ConfigError(f'The weight of method "{name}" is {weight!r}; a number of 0 or more was expected.')
    return MethodEntry(name, float(weight), {key: values[key] for key in known if key in values})


def method_parameters(name: str) -> dict[str, Any]:
    """Return the parameters of a method's own and their defaults."""
    from hlfd.distillation import METHODS

    found = inspect.signature(METHODS[name].__init__).parameters
    return {key: parameter.default for key, parameter in found.items() if key not in _GIVEN}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
