"""What a run does: fine-tune a student on a project, or distil one from scratch on a data set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union

from hlfd.config import from_mapping, look_up
from hlfd.errors import ConfigError
from hlfd.files import write_json

AFTER_CLOSE = ("continue", "pause")
NO_TEACHER = "none"


@dataclass(frozen=True)
class RunSettings:
    """How a student is fine-tuned on the labelled cases of a project."""

    model: str = "kidney"
    """The student to start from: name, ``name/version`` or package folder; it stays as it is."""
    project: str = ""
    """Project folder, or any labelled data set that ``hlfd.data.layouts`` knows."""
    teacher: str = ""
    """Guide: empty for the package's teacher, or the student as it was where it has none; ``none``; or a source as
    ``TeacherSettings`` takes it."""
    method: str = "kd"
    """Method by which the teacher guides, a name in ``METHOD_NAMES`` or several joined by ``+``; ``none`` learns from
    labels alone."""
    guide_weight: float = 1.0
    """Weight of the guidance beside the labels."""
    minutes: float = 10.0
    """Time for the whole training; 0 goes on until it stops improving."""
    steps: int = 0
    """Optimiser steps instead of ``minutes``; 0 for none."""
    lr: float = 1e-4
    """Highest learning rate."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    replay_share: float = 0.7
    """Share of simulated patches: half keep what the student knew, half have the look of the local cases."""
    patch: int = 64
    """Side of the training patches in voxels; a smaller one is taken where the memory is too small."""
    batch_size: int = 2
    """Patches per step."""
    seed: int = 0
    """Seed of everything random."""
    after_close: str = "continue"
    """What happens when the program that started the run is gone: ``continue`` or ``pause``."""

    def __post_init__(self) -> None:
        look_up(self.after_close, AFTER_CLOSE, "value of after_close")
        if self.minutes < 0 or self.steps < 0:
            raise ConfigError("minutes and steps must not be negative.")

    @property
    def guided(self) -> bool:
        """Whether a teacher takes part."""
        return self.teacher != NO_TEACHER and self.method != "none" and self.guide_weight > 0


@dataclass(frozen=True)
class DistilSettings:
    """How a student is distilled from scratch: a recipe on a labelled data set or a project, stage by stage."""

    recipe: str
    """Recipe file, or the name of one that ships, such as ``kits23``."""
    data: str = ""
    """Folder of the data set, where the recipe does not name it."""
    stages: tuple[str, ...] = ()
    """Stages to run, all where empty: prepare, locator, teacher, cache, distil, evaluate, package."""
    folds: tuple[int, ...] = (0,)
    """Folds of the cross-validation; all where empty."""
    steps: int = 0
    """Steps of every network for a quick trial; 0 takes those of the recipe."""
    after_close: str = "continue"
    """As in ``RunSettings``."""

    def __post_init__(self) -> None:
        look_up(self.after_close, AFTER_CLOSE, "value of after_close")
        for name in ("stages", "folds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


AnySettings = Union[RunSettings, DistilSettings]
KINDS: dict[str, type[Any]] = {"finetune": RunSettings, "distil": DistilSettings}


def write_settings(path: Path, settings: AnySettings) -> None:
    """Write the settings of a run as JSON with their kind."""
    kind = next(name for name, cls in KINDS.items() if isinstance(settings, cls))
    write_json(path, {"kind": kind, **asdict(settings)})


def read_settings(path: Path) -> AnySettings:
    """Read what ``write_settings`` wrote; raise ``ConfigError`` for a file that is missing or damaged."""
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f'The settings of the run, "{path}", cannot be read: {error}.', "Start a new run.") from error
    kind = look_up(str(values.pop("kind", "finetune")), list(KINDS), "kind of run")
    settings: AnySettings = from_mapping(KINDS[kind], values, f'"{path}"')
    return settings
