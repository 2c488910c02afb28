"""One unit of a comparison: one method with one seed, trained and scored in a process of its own.

``python -m hlfd.compare.unit CONFIG NAME SEED`` is what ``hlfd.compare.run`` starts. A unit leaves ``unit.json`` in its
folder when it is whole; a broken one goes on from its checkpoint.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.cli.signals import cancel_on_signals
from hlfd.compare.data import (
    StoredPatches,
    patch_file,
    phantom_source,
    pool_entries,
    read_tensors,
    scan_file,
    scan_name,
    scan_sample,
)
from hlfd.compare.settings import CompareSettings, distill_settings, read_compare, structures, unit_key
from hlfd.compare.student import build_student, initial_sha256
from hlfd.distillation import Distillation, TeacherSpec, build_objective
from hlfd.errors import CancelledError, HlfdError, InputError
from hlfd.events import CancelToken, Event, Metric, Progress
from hlfd.files import write_json
from hlfd.losses import dice_ce_loss, focal_dice_loss
from hlfd.metrics.overlap import Counts, dice
from hlfd.networks import SegmentationNetwork
from hlfd.networks.merge import merge_logits
from hlfd.training.fit import FitResult, fit
from hlfd.training.precision import choose_device, choose_precision
from hlfd.training.source import PatchSource
from hlfd.training.validation import PatchValidator

RESULT = "unit.json"
DATA_RECORD = "data.json"
_CANCELLED, _FAILED = 130, 2


def make_objective(
    settings: CompareSettings, name: str, seed: int, student: SegmentationNetwork, teacher: nn.Module | TeacherSpec
) -> Distillation:
    """Return the objective of one entry; raise ``ConfigError`` for what cannot work."""
    loss = focal_dice_loss
    if settings.segmentation == "dice_ce":
        weights = [settings.class_weights.get(c, 1.0) for c in ("background", *settings.learned())]
        loss = partial(dice_ce_loss, class_weights=weights, smooth=1.0)
    # Kept logits are merged already; an online teacher gives all its classes.
    merged = None if settings.auxiliary or isinstance(teacher, TeacherSpec) else settings.channel_groups()
    return build_objective(distill_settings(settings, name, seed), student, teacher, loss, merged)


def read_data_record(settings: CompareSettings) -> dict[str, Any]:
    """Return what is known of the kept data: ``key``, and the teacher's ``channels`` and ``alias`` by tap."""
    path = settings.folder / "data" / DATA_RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'"{path}" is missing or damaged.', "Run hlfd compare, which makes the data.") from error
    return record


def run_unit(settings: CompareSettings, name: str, seed: int, cancel: CancelToken | None = None) -> dict[str, Any]:
    """Train and score one unit, resuming a broken one; write and return its result."""
    record = read_data_record(settings)
    student = build_student(settings, seed)
    teacher = _teacher(settings, record)
    objective = make_objective(settings, name, seed, student, teacher)
    source = _source(settings, seed, record, objective)
    folder = settings.unit_folder(name, seed)
    gauge = _Gauge(cancel or CancelToken())
    result = fit(
        student,
        objective,
        source,
        replace(settings.training, seed=seed, tensorboard=False),
        folder,
        validate=_validator(settings),
        on_event=gauge,
        cancel=gauge.cancel,
    )
    values = {
        "method": name,
        "seed": seed,
        "key": unit_key(settings, name, seed, record["key"], initial_sha256(settings)),
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "projection_parameters": sum(parameter.numel() for parameter in objective.parameters()),
        "scores": score(settings, student, settings.student_groups()),
        **_training_facts(result, folder, gauge),
    }
    write_json(folder / RESULT, values)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    (folder / "checkpoint.previous.pt").unlink(missing_ok=True)
    return values


def _training_facts(result: FitResult, folder: Path, gauge: _Gauge) -> dict[str, Any]:
    return {
        "steps": result.step,
        "best_step": result.best_step,
        "validation": result.metrics,
        "curve": read_curve(folder / "metrics.jsonl"),
        "step_ms": gauge.step_ms,
        "step_cpu_ms": gauge.step_cpu_ms,
        "memory_mb": gauge.memory_mb,
    }


def _teacher(settings: CompareSettings, record: dict[str, Any]) -> nn.Module | TeacherSpec:
    if settings.train.patches:
        return TeacherSpec(record["channels"])
    from hlfd.compare.teacher import load_teacher

    return load_teacher(settings)


def _source(settings: CompareSettings, seed: int, record: dict[str, Any], objective: Distillation) -> PatchSource:
    if not settings.train.patches:
        return phantom_source(settings, "train", seed)
    files = [patch_file(settings, "train", index) for index in range(settings.train.patches)]
    return StoredPatches(files, seed, objective.teacher_taps, record["alias"])


def _validator(settings: CompareSettings) -> PatchValidator:
    files = [patch_file(settings, "validation", index) for index in range(settings.validation.patches)]
    samples = [read_tensors(path, ["image", "label"]) for path in files]
    return PatchValidator(
        [{"image": sample["image"].float(), "label": sample["label"]} for sample in samples],
        names=["background", *settings.exported],
        groups=settings.student_groups(),
    )


def score(
    settings: CompareSettings, network: SegmentationNetwork, groups: list[list[int]]
) -> dict[str, dict[str, float]]:
    """Return Dice per scan and structure; two empty masks agree and give 1.

    ``groups`` lists the network's channels merged into each exported class.
    """
    device = next(network.parameters()).device
    precision = choose_precision(settings.training.precision, device)
    network.eval()
    scores = {}
    for entry in pool_entries(settings.test):
        sample = scan_sample(settings, scan_file(settings, entry))
        with torch.no_grad(), precision.autocast():
            logits = network(sample["image"][None].to(device))
        predicted = merge_logits(logits.float(), groups)[0].argmax(0).cpu()
        scores[scan_name(entry)] = _dice_of_scan(settings, predicted, sample["label"])
    return scores


def _dice_of_scan(settings: CompareSettings, predicted: Tensor, label: Tensor) -> dict[str, float]:
    class_of = torch.zeros(len(settings.learned()) + 1, dtype=torch.long)
    for index, group in enumerate(settings.student_groups()):
        class_of[group] = index
    truth = class_of[label.long()]
    value_of = {name: index for index, name in enumerate(settings.exported, start=1)}
    found = {}
    for metric, parts in structures(settings.exported).items():
        values = torch.tensor([value_of[part] for part in parts])
        masks = [torch.isin(array, values).numpy() for array in (predicted, truth)]
        found[metric] = round(dice(Counts.of(masks[0], masks[1])), 6)
    return found


def read_curve(path: Path) -> list[dict[str, float]]:
    """Return step, validation numbers and mean training losses of a run's log, thinned to its validations.

    Losses are averaged over the lines since the validation before.
    """
    curve: list[dict[str, float]] = []
    losses: dict[str, list[float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        validation = {key: value for key, value in row.items() if key.startswith("validation/")}
        for key, value in row.items():
            if key.startswith("train/") and key != "train/lr":
                losses.setdefault(key, []).append(value)
        if validation:
            means = {key: statistics.fmean(values) for key, values in losses.items()}
            curve.append({"step": row["step"], **validation, **means})
            losses = {}
    return curve


class _Gauge:
    """Watches a training: time per step (median, so that validations do not count) and memory. Stops with its parent.

    Memory is what the process itself allocated (not the files that it maps), on CUDA the peak of the device.
    """

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel
        self._parent = os.getppid()
        self._last: tuple[float, float] | None = None
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._memory = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = (time.perf_counter(), time.process_time())
            if self._last is not None:
                self._wall.append(now[0] - self._last[0])
                self._cpu.append(now[1] - self._last[1])
            self._last = now
        elif isinstance(event, Metric):
            self._memory = max(self._memory, memory_mb())
            if os.getppid() != self._parent:
                self.cancel.cancel()

    @property
    def step_ms(self) -> float | None:
        """Median wall time of a step in ms."""
        return round(1000 * statistics.median(self._wall), 3) if self._wall else None

    @property
    def step_cpu_ms(self) -> float | None:
        """Median processor time of a step in ms, which other work on the machine disturbs less."""
        return round(1000 * statistics.median(self._cpu), 3) if self._cpu else None

    @property
    def memory_mb(self) -> float | None:
        """Largest memory seen in MiB."""
        return round(self._memory, 1) or None


def memory_mb() -> float:
    """Return the memory that this process holds for itself, in MiB; on CUDA the peak of the device.

    ``fit`` lets the allocator keep freed memory on Linux, so that what is held between steps is the peak within them.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("RssAnon")), "")
        if line:
            return int(line.split()[1]) / 1024
    from hlfd.bench.machine import peak_rss_mb

    return peak_rss_mb()


def main(arguments: list[str]) -> int:
    """Run the unit that the arguments name; an error becomes the last line on stdout, as JSON."""
    config, name, seed = Path(arguments[0]), arguments[1], int(arguments[2])
    torch.set_num_threads(1)
    try:
        with cancel_on_signals() as cancel:
            settings = read_compare(config)
            choose_device(settings.training.device)
            run_unit(settings, name, seed, cancel)
    except (CancelledError, KeyboardInterrupt):
        return _CANCELLED
    except HlfdError as error:
        sys.stdout.write(json.dumps(error.to_dict()) + "\n")
        return _FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
