"""Which CT to label next: those that the student is least sure of, or on which it and a teacher disagree.

On the regions that the segmenter refines, with p the class probabilities of a voxel at working resolution,

    entropy = sum of H(p) / log(classes)
    disagreement = sum of |p_student - p_teacher| / 2 over the classes

each divided by the sum of 1 - p(background), the larger one of student and teacher: both say which part of the organ is
unsure, whatever its size. The score is their sum. (Uncertainty sampling and query by committee, as in Settles, Active
Learning Literature Survey, 2009.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import CancelledError, HlfdError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Stage, Warn, ignore
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.steps import Located
from hlfd.io import read_volume
from hlfd.preprocess.grid import grid_over
from hlfd.project.checks import as_stored, voxel_checksum
from hlfd.project.project import Project
from hlfd.volume import Volume

if TYPE_CHECKING:
    from hlfd.teachers.settings import TeacherSettings

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""HU (z, y, x) of a region at the student's spacing -> logits (classes, z, y, x) in the student's classes."""
_SLAB = 16


@dataclass(frozen=True)
class Suggestion:
    """One CT and how much there is to learn from it; ``score`` is None where that cannot be told, ``note`` says why."""

    name: str
    path: str
    score: float | None = None
    entropy: float | None = None
    disagreement: float | None = None
    note: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Uncertainty:
    """Entropy and, with a teacher, disagreement on one CT, see the top of this file; ``note`` says what was odd."""

    entropy: float
    disagreement: float | None
    note: str


@dataclass(frozen=True)
class Peer:
    """A teacher that takes the student's input."""

    logits: Logits
    divisor: int = 1


def suggest(
    project: Project,
    cts: Sequence[tuple[str, Path]],
    segmenter: Segmenter,
    teacher: Peer | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> list[Suggestion]:
    """Return the CTs (name, path), the one to label first in front; cases of the project are left out.

    What cannot be read, and what shows no organ, comes last with a note.
    """
    clock = ProgressClock(len(cts), on_event, cancel)
    rows = []
    for name, path in cts:
        on_event(Stage(name))
        row = _look(project, name, path, segmenter, teacher, cancel)
        if row is None:
            on_event(Warn(f"{name} is a case of the project already."))
        else:
            rows.append(row)
        clock.advance()
    return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0)))


def uncertainty(
    volume: Volume, segmenter: Segmenter, teacher: Peer | None = None, cancel: CancelToken | None = None
) -> Uncertainty | None:
    """Return how unsure the student is of a CT; None where neither it nor the teacher labels an organ."""
    located = segmenter.locate(volume, cancel=cancel)
    sums = np.zeros(5)  # entropy, organ of the student, disagreement, organ of the teacher, voxels that either labels
    for hu in _regions(located, segmenter, teacher.divisor if teacher else 1):
        own = segmenter.refiner_logits(hu, cancel)
        other = teacher.logits(hu) if teacher else None
        for begin in range(0, hu.shape[0], _SLAB):  # probabilities of a few slices at a time
            slab = np.s_[:, begin : begin + _SLAB]
            sums += _sums(own[slab], None if other is None else other[slab])
    entropy, organ, difference, organ_of_teacher, labelled = (float(v) for v in sums)
    if labelled * segmenter.package.refiner.spacing_mm**3 / 1000.0 < segmenter.rules.keep_ml:
        return None
    largest = max(organ, organ_of_teacher)
    disagreement = difference / largest if teacher else None
    return Uncertainty(entropy / largest, disagreement, " ".join(located.warnings))


def load_peer(source: TeacherSettings | str | Path, segmenter: Segmenter) -> Peer:
    """Load a teacher (see ``hlfd.teachers``) to stand beside the student of ``segmenter``. Needs torch."""
    import torch

    from hlfd.preprocess.intensity import window_channels
    from hlfd.teachers import fit_teacher, load_teacher

    entry = segmenter.package.refiner
    network = fit_teacher(load_teacher(source), entry.classes, entry.windows, entry.spacing_mm).to(segmenter.device)

    def logits(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        image = torch.from_numpy(window_channels(hu, entry.windows)).to(segmenter.device)
        with torch.inference_mode():
            found: NDArray[np.float32] = network(image)[0].float().cpu().numpy()
        return found

    return Peer(logits, network.divisor)


def _look(
    project: Project, name: str, path: Path, segmenter: Segmenter, teacher: Peer | None, cancel: CancelToken | None
) -> Suggestion | None:
    begin = time.perf_counter()
    row = Suggestion(name, str(path))
    try:
        volume = read_volume(path)
        if project.known(voxel_checksum(as_stored(volume))) is not None:
            return None
        found = uncertainty(volume, segmenter, teacher, cancel)
    except CancelledError:
        raise
    except HlfdError as error:
        return replace(row, note=str(error))
    if found is None:
        return replace(row, note=f"No {' or '.join(segmenter.rules.organs)} was found.")
    score = found.entropy + (found.disagreement or 0.0)
    seconds = time.perf_counter() - begin
    return replace(row, **asdict(found), score=score, seconds=seconds)


def _regions(located: Located, segmenter: Segmenter, divisor: int) -> Iterator[NDArray[np.float32]]:
    entry = segmenter.package.refiner
    for box in located.boxes:
        yield located.frame.sample(grid_over(box, entry.spacing_mm, int(np.lcm(entry.divisor, divisor))))


def _sums(own: NDArray[np.float32], other: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Return the sums of a slab of logits (classes, z, y, x), see ``uncertainty``."""
    p = _softmax(own)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum() / np.log(len(p))
    organ = (1.0 - p[0]).sum(dtype=np.float64)
    labelled = own.argmax(axis=0) > 0
    if other is None:
        return np.array([entropy, organ, 0.0, 0.0, labelled.sum()], np.float64)
    q = _softmax(other)
    difference = 0.5 * np.abs(p - q).sum(dtype=np.float64)
    labelled |= other.argmax(axis=0) > 0
    return np.array([entropy, organ, difference, (1.0 - q[0]).sum(), labelled.sum()], np.float64)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=0, keepdims=True))
    result: NDArray[np.float32] = shifted / shifted.sum(axis=0, keepdims=True)
    return result
