"""What the feature viewer is asked for, and which layers it pairs by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlfd.config import look_up
from hlfd.errors import ConfigError

ROLES = ("teacher", "student", "undistilled", "base")
"""The networks side by side: ``undistilled`` is the student trained without distillation, ``base`` the student of a
fine-tuned model as it was before."""
KINDS = ("attention", "channel", "pca", "evidence", "difference")
"""What can be seen of a layer."""
POWER = 4
"""Exponent p of the attention maps, the mean of abs(x)^p over the channels."""
PART_MM = 96.0
"""Edge of the part of a region that is shown first: what an nnU-Net-like teacher manages in half a second on a CPU."""
GLANCE = {"first": ("d2", "d3", "d4"), "part_mm": PART_MM, "evidence": False, "precision": "auto"}
"""Fields of a request for the least that is worth seeing: one pair (of the finest stages of the decoder, which are the
easiest to read) of the part around the tumor. Ready in about the time of a segmentation."""
MAX_VOXELS = 2_500_000
"""Regions of more voxels at working resolution are cut around their middle: the pass keeps all feature maps."""


@dataclass(frozen=True)
class Pair:
    """A layer of the teacher and the layer of the student that is compared with it, by tap name."""

    name: str
    teacher: str
    student: str

    def tap(self, role: str) -> str:
        """Return the tap that the pair reads from the network of ``role``."""
        return self.teacher if role == "teacher" else self.student


@dataclass(frozen=True)
class FeatureRequest:
    """What to look at."""

    region: int = -1
    """Index of the region among those that the segmenter finds; -1 is the one with most predicted tumor."""
    pairs: tuple[Pair, ...] = ()
    """Layer pairs; empty are those of the same tap name in all networks."""
    first: tuple[str, ...] = ()
    """Where this names any, only one of the pairs is looked at: the first name that there is, else the last pair."""
    part_mm: float = 0.0
    """Edge in mm of the part around the tumor (the kidney where there is none) that is looked at; 0 is the region."""
    around: tuple[float, float, float] | None = None
    """RAS position in mm to look around in place of the tumor; without ``region`` the region nearest to it is taken."""
    evidence: bool = True
    """Whether class evidence is wanted, which needs a whole pass and its gradients."""
    precision: str = "float32"
    """In what the networks compute where no evidence is wanted; ``auto`` is bfloat16 where the device has it."""
    teacher: Any = None
    """A teacher from outside in place of the package's own: a source or settings as for ``hlfd.teachers``."""
    max_voxels: int = MAX_VOXELS
    """Largest size of the region in voxels."""

    def __post_init__(self) -> None:
        if self.region < -1:
            raise ConfigError(f"region is {self.region}; -1 (automatic) or the index of a region was expected.")
        if not self.part_mm >= 0:
            raise ConfigError(f"part_mm is {self.part_mm}; 0 (the whole region) or a length in mm was expected.")
        if self.around is not None and len(self.around) != 3:
            raise ConfigError(f"around is {self.around}; a RAS position of three numbers in mm was expected.")
        look_up(self.precision, ("float32", "auto"), "precision of a feature request")
        if self.max_voxels < 32**3:
            raise ConfigError(f"max_voxels is {self.max_voxels}; at least {32**3} was expected.")
        names = [pair.name for pair in self.pairs]
        if len(set(names)) < len(names):
            raise ConfigError(f"Two layer pairs have one name: {names}.", "Name each pair differently.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> FeatureRequest:
        """Read a request from plain values; pairs are tap names, or lists of name, teacher's and student's tap."""
        known = dict(values)
        for key in known:
            look_up(key, list(cls.__dataclass_fields__), "key of a feature request")
        known["pairs"] = tuple(_pair(value) for value in known.get("pairs") or ())
        known["first"] = tuple(known.get("first") or ())
        if known.get("around") is not None:
            known["around"] = tuple(float(value) for value in known["around"])
        return cls(**known)

    def chosen(self, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        """Return those of ``pairs`` that ``first`` leaves."""
        if not self.first or not pairs:
            return pairs
        known = {pair.name: pair for pair in pairs}
        return (next((known[name] for name in self.first if name in known), pairs[-1]),)


def _pair(value: Any) -> Pair:
    if isinstance(value, str):
        return Pair(value, value, value)
    if isinstance(value, Sequence) and len(value) == 3 and all(isinstance(part, str) for part in value):
        return Pair(*value)
    raise ConfigError(
        f"{value!r} is no layer pair.", "Give a tap name, or its name, the teacher's and the student's tap."
    )


def default_pairs(taps: Mapping[str, Mapping[str, str]]) -> tuple[Pair, ...]:
    """Return a pair for each tap name that all networks have, given their taps (role -> tap -> module path).

    Taps that read the same modules as an earlier one in all networks are left out.
    """
    names = [name for name in next(iter(taps.values())) if all(name in known for known in taps.values())]
    first: dict[tuple[str, ...], str] = {}
    for name in names:
        first.setdefault(tuple(known[name] for known in taps.values()), name)
    return tuple(Pair(name, name, name) for name in first.values())
