"""The order and direction of a teacher's array axes against a student's.

An orientation names, per array axis, the side of the patient towards which its index grows: R, L, A, P, S, I. Images of
the student are ``SAR`` (k to superior, j to anterior, i to the patient's right), as ``hlfd.preprocess`` lays them out;
MONAI's ``Orientationd(axcodes="RAS")`` gives ``RAS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from hlfd.errors import ConfigError

STUDENT = "SAR"
_AXES = ("RL", "AP", "SI")
T = TypeVar("T")


def check_orientation(code: str, dims: int = 3) -> str:
    """Return the code in capitals; raise ``ConfigError`` unless it names each of the ``dims`` last axes once."""
    letters = code.upper()
    wanted = [next(pair for pair in _AXES if letter in pair) for letter in STUDENT[-dims:]]
    found = [next((pair for pair in _AXES if letter in pair), "") for letter in letters]
    if sorted(found) != sorted(wanted):
        raise ConfigError(
            f'The orientation "{code}" is not one of a {dims}-D image.',
            f'Write {dims} letters, one of {", ".join(wanted)} each, such as "{STUDENT[-dims:]}".',
        )
    return letters


@dataclass(frozen=True)
class AxisPlan:
    """Takes tensors (B, C, *spatial) from the student's axes to the teacher's and back, as views."""

    order: tuple[int, ...]
    flips: tuple[int, ...]

    @classmethod
    def of(cls, orientation: str, dims: int) -> AxisPlan:
        """Return the plan for a teacher of ``orientation``; empty is the student's own."""
        own = STUDENT[-dims:]
        letters = check_orientation(orientation or own, dims)
        pairs = {letter: pair for pair in _AXES for letter in pair}
        order = tuple(next(n for n, mine in enumerate(own) if mine in pairs[letter]) for letter in letters)
        return cls(order, tuple(n for n, letter in enumerate(letters) if letter != own[order[n]]))

    @property
    def unchanged(self) -> bool:
        """Whether both have the same axes."""
        return not self.flips and self.order == tuple(range(len(self.order)))

    def forward(self, tensor: Tensor) -> Tensor:
        """Return a student's tensor along the teacher's axes."""
        moved = tensor.permute(0, 1, *(axis + 2 for axis in self.order))
        return moved.flip([axis + 2 for axis in self.flips]) if self.flips else moved

    def back(self, tensor: Tensor) -> Tensor:
        """Return a teacher's tensor along the student's axes."""
        turned = tensor.flip([axis + 2 for axis in self.flips]) if self.flips else tensor
        return turned.permute(0, 1, *(self.order.index(axis) + 2 for axis in range(len(self.order))))

    def along_student(self, values: Sequence[T]) -> tuple[T, ...]:
        """Return one value per teacher axis in the order of the student's axes."""
        return tuple(values[self.order.index(axis)] for axis in range(len(self.order)))
