"""Several processes that share one job: which of them this one is, as ``torchrun`` and batch systems tell it.

Only the environment is read, so sharing works without torch. Variables: ``RANK`` and ``WORLD_SIZE`` (both or none),
``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE`` for the processes on this machine, and of torch's elastic launcher
``TORCHELASTIC_RUN_ID`` and ``TORCHELASTIC_RESTART_COUNT``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hlfd.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among ``size`` processes that share a job."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    run: str = ""
    """Name of the job, equal in all its processes and after a restart; empty where the launcher gives none."""
    restarts: int = 0
    """How often the launcher has started the processes of this job again."""

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size):
            raise ConfigError(
                f"RANK {self.rank} of WORLD_SIZE {self.size} (LOCAL_RANK {self.local_rank} of {self.local_size}) is no "
                "process of a job; 0 <= rank < size was expected.",
                "Start the processes with torchrun, or correct the variables.",
            )

    @property
    def main(self) -> bool:
        """Whether this process logs, validates and writes the results of all."""
        return self.rank == 0

    def take(self, items: Sequence[T]) -> list[T]:
        """Return every ``size``-th of ``items``, those of this process."""
        return list(items[self.rank :: self.size])


def share_of(count: int, parts: int, part: int) -> range:
    """Return the indices of 0 .. ``count`` - 1 in part ``part`` of ``parts`` consecutive, nearly equal ones."""
    return range(count * part // parts, count * (part + 1) // parts)


def current_ranks(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return the place of this process; raise ``ConfigError`` for variables that make no sense."""
    if ("RANK" in environment) != ("WORLD_SIZE" in environment):
        raise ConfigError("Only one of the environment variables RANK and WORLD_SIZE is set.", "Set both, or none.")
    rank, size = _number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1)
    local_rank = _number(environment, "LOCAL_RANK", 0)
    return Ranks(
        rank=rank,
        size=size,
        local_rank=local_rank,
        local_size=_number(environment, "LOCAL_WORLD_SIZE", local_rank + 1),
        run=environment.get("TORCHELASTIC_RUN_ID") or environment.get("SLURM_JOB_ID") or "",
        restarts=_number(environment, "TORCHELASTIC_RESTART_COUNT", 0),
    )


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environment.get(name, default))
    except ValueError as error:
        raise ConfigError(f'{name} is "{environment[name]}"; a whole number was expected.') from error
