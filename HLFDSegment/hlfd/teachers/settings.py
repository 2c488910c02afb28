"""How a settings file names a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping, look_up
from hlfd.errors import ConfigError

KINDS = ("auto", "package", "bundle", "torchscript", "nnunet", "builder")


@dataclass(frozen=True)
class TeacherSettings:
    """A teacher, what to tap in it, and the facts that its files leave open.

    What the files of a teacher state (classes of a bundle, spacing and normalisation of an nnU-Net plan) need not be
    repeated; what is stated here wins. Raises ``ConfigError`` for values that make no sense.
    """

    source: str
    """An installed HLFD package, a MONAI bundle folder, a TorchScript file, an nnU-Net v2 model folder, or
    ``package.module:builder``."""
    kind: str = "auto"
    """One of ``KINDS``; ``auto`` looks at the source."""
    taps: Mapping[str, str | int] = field(default_factory=dict)
    """Tap name (e1..e5, d5..d2, out) to module path; in a TorchScript file that returns several tensors also to the
    index of one."""
    classes: Sequence[str] = ()
    """Name of every output channel, ``background`` first."""
    merge: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Class of the student to the classes of the teacher that make it up, where the names differ."""
    in_channels: int = 0
    """Input channels; 0 takes them from the files or the windows."""
    spacing_mm: Sequence[float] = ()
    """Working spacing in mm along the teacher's axes, or one number for all; empty takes it from the files."""
    orientation: str = ""
    """Sides of the patient that the teacher's array axes run to, such as ``RAS``; empty takes it from the files, else
    the student's own, ``SAR``."""
    windows: Sequence[Sequence[float]] = ()
    """HU window (low, high) of every input channel; empty takes the normalisation from the files."""
    window_range: Sequence[float] = (-1.0, 1.0)
    """The values that the two ends of a window are mapped to."""
    resample: bool = False
    """Resample the student's patches to the teacher's spacing instead of refusing another spacing."""
    licence: str = ""
    """Licence of the teacher, for the provenance of what is distilled from it."""
    configuration: str = ""
    """nnU-Net: the configuration of the plans; empty takes that of the checkpoint."""
    fold: str = ""
    """nnU-Net: the fold, ``0`` to ``4`` or ``all``; empty takes the only one or the lowest."""
    checkpoint: str = "checkpoint_final.pth"
    """nnU-Net: name of the checkpoint inside the fold's folder."""
    role: str = ""
    """HLFD package: ``teacher``, ``refiner`` or ``locator``; empty takes the teacher where there is one, else the
    refiner."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of a builder."""
    weights: str = ""
    """Builder: a safetensors file, or a ``.pt`` file with a state dict, that is loaded into what it returns."""

    def __post_init__(self) -> None:
        look_up(self.kind, KINDS, "kind of teacher")
        if not str(self.source):
            raise ConfigError(
                "The teacher has no source.", "Name a package, a file, a folder or package.module:builder."
            )
        spacing = self.spacing_mm
        if isinstance(spacing, (int, float)):
            object.__setattr__(self, "spacing_mm", (float(spacing),))
        if any(not value > 0 for value in self.spacing_mm) or len(self.spacing_mm) > 3:
            raise ConfigError(f"spacing_mm of the teacher is {spacing}; one to three positive numbers were expected.")
        for window in self.windows:
            if len(window) != 2 or not window[0] < window[1]:
                raise ConfigError(f"The teacher's window {list(window)} is no pair (low, high) of HU.")
        if len(self.window_range) != 2 or self.window_range[0] == self.window_range[1]:
            raise ConfigError(f"window_range is {list(self.window_range)}; two different numbers were expected.")
        if self.in_channels < 0:
            raise ConfigError(f"in_channels of the teacher is {self.in_channels}; it must not be negative.")


def read_settings(value: TeacherSettings | str | Path | Mapping[str, Any]) -> TeacherSettings:
    """Return a spec as it is, from its source alone, or from a mapping of a settings file."""
    if isinstance(value, TeacherSettings):
        return value
    if isinstance(value, Mapping):
        if "source" not in value:
            raise ConfigError(
                "The teacher has no source.", "Name a package, a file, a folder or package.module:builder."
            )
        return from_mapping(TeacherSettings, dict(value), "teacher")
    return TeacherSettings(str(value))
