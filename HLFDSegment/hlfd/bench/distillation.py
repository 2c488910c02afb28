"""What a teacher costs a training step: beside the student, and as cached outputs, on the CPU or another device."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hlfd.bench.machine import best_seconds
from hlfd.config import SegmentSettings
from hlfd.distillation import DistillSettings, build_objective
from hlfd.distillation.teacher import OnlineTeacher, tap_paths
from hlfd.events import CancelToken, OnEvent, ProgressClock, ignore
from hlfd.inference.backends import cpu_threads
from hlfd.labels import KIDNEY_LABELS
from hlfd.networks import SegmentationNetwork, build_network
from hlfd.training.case_source import CasePatches
from hlfd.training.cases import CachedCase, cache_case
from hlfd.training.memory import kept_memory
from hlfd.training.objective import Objective, Supervised
from hlfd.training.precision import choose_device, choose_precision
from hlfd.training.source import Sample
from hlfd.training.teacher_cache import CacheSettings, TeacherCache
from hlfd.training.teacher_cache_source import TeacherCacheSource
from hlfd.volume import LabelMap, Volume

SPEEDUP_BAR, OVERHEAD_BAR = 5.0, 1.1
_WINDOWS = ((-200.0, 300.0), (-1000.0, 1000.0))
_CLASSES = 4


@dataclass(frozen=True)
class DistillationBench:
    """What is measured."""

    teacher: str = "dynunet"
    """Name of the teacher in ``NETWORKS``; ``dynunet`` is the one of nnU-Net (31 M parameters)."""
    methods: tuple[str, ...] = ("hlfd",)
    """The distillation methods of a step."""
    patch: int = 64
    """Side of the cubic patch; a multiple of 32."""
    repeats: int = 3
    """Rounds of all measurements, of which the best of each counts: another program can only add time."""
    threads: int = 0
    """CPU threads; 0 uses all."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``auto``."""


class _Trainer:
    """A student in training, without logs and checkpoints: what a step of ``fit`` computes."""

    def __init__(self, student: SegmentationNetwork, objective: Objective, device: torch.device) -> None:
        self.network = student.to(device, memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
        self.objective, self.device = objective, device
        modules = [student, *([objective.to(device)] if isinstance(objective, nn.Module) else [])]
        self.optimizer = torch.optim.AdamW([p for module in modules for p in module.parameters()], 1e-4)
        self.precision = choose_precision("auto", device)

    def step(self, sample: Callable[[], Sample]) -> None:
        """Draw one patch, move it to the device, and make one optimiser step."""
        batch = {name: tensor[None].to(self.device) for name, tensor in sample().items()}
        batch["image"] = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        with self.precision.autocast():
            _, terms = self.objective(self.network, batch)
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        _wait(self.device)


def run_distillation_bench(
    settings: DistillationBench, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> dict[str, Any]:
    """Measure the step of a student alone, the teacher's pass, and the step with either kind of teacher.

    Returns ``seconds`` of each, ``cached_speedup`` (step with the online teacher / step with cached outputs, at least 5
    on a CPU is the bar) and ``overhead`` (step with the online teacher / (student step + teacher pass), at most 1.1),
    ``cache_mb`` and ``settings``. A patch is drawn from disk in every step.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(cpu_threads(SegmentSettings(threads=settings.threads)))
    device = choose_device(settings.device)
    try:
        with kept_memory(device), tempfile.TemporaryDirectory() as folder:
            actions, megabytes = _actions(settings, Path(folder), device)
            clock = ProgressClock(settings.repeats * len(actions), on_event, cancel)
            seconds = dict.fromkeys(actions, float("inf"))
            for _ in range(settings.repeats):  # in rounds, so that a slow minute of the machine meets all of them
                for name, action in actions.items():
                    seconds[name] = min(seconds[name], best_seconds(action, 1))
                    clock.advance()
    finally:
        torch.set_num_threads(threads)
    online = seconds["step_online"]
    return {
        "seconds": seconds,
        "cached_speedup": online / seconds["step_cached"],
        "overhead": online / (seconds["step_student"] + seconds["teacher_forward"]),
        "cache_mb": megabytes,
        "settings": {**vars(settings), "device": str(device), "methods": list(settings.methods)},
    }


def _actions(
    settings: DistillationBench, folder: Path, device: torch.device
) -> tuple[dict[str, Callable[[], None]], float]:
    """Return what is timed by name, each already run once, and the size of the cache in MB."""
    teacher = build_network(settings.teacher, in_channels=len(_WINDOWS), classes=_CLASSES).to(device).eval()
    distill = DistillSettings(methods=settings.methods)
    objective = build_objective(distill, _student(), teacher)
    source = _cached_source(settings, folder, teacher, objective.teacher_taps)
    patches = [0]

    def draw() -> Sample:
        patches[0] += 1
        return source.sample(patches[0])

    def draw_plain() -> Sample:
        return {name: tensor for name, tensor in draw().items() if not name.startswith("teacher/")}

    student = _student()
    cached = _Trainer(student, build_objective(distill, student, source.spec), device)
    student = _student()
    online = _Trainer(student, build_objective(distill, student, teacher), device)
    alone = _Trainer(_student(), Supervised(), device)
    image = draw()["image"][None].to(device).contiguous(memory_format=torch.channels_last_3d)
    actions: dict[str, Callable[[], None]] = {
        "step_student": partial(alone.step, draw_plain),
        "teacher_forward": partial(_pass, teacher, image, alone.precision.autocast),
        "step_online": partial(online.step, draw_plain),
        "step_cached": partial(cached.step, draw),
    }
    for action in actions.values():
        action()
    size = sum(path.stat().st_size for path in folder.rglob("*.npy") if path.parent.parent.name == "teacher")
    return actions, size / 1e6


def _student() -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network("s2d_unet", in_channels=len(_WINDOWS), classes=_CLASSES)


@torch.no_grad()
def _pass(teacher: nn.Module, image: Tensor, autocast: Callable[[], Any]) -> None:
    with autocast():
        teacher(image)
    _wait(image.device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cached_source(
    settings: DistillationBench, folder: Path, teacher: SegmentationNetwork, taps: tuple[str, ...]
) -> TeacherCacheSource:
    """Prepare one case, keep the teacher's outputs, and return the source of patches with them."""
    case = _case(folder, settings.patch)
    size = (settings.patch,) * 3
    patches = CasePatches(
        size=size, windows=_WINDOWS, rotation_deg=0.0, scale=(1.0, 1.0), gain=0.0, shift_hu=0.0, noise_hu=0.0
    )
    cache = TeacherCache(
        folder=folder / "teacher",
        teacher=OnlineTeacher(teacher, tap_paths(teacher, "teacher")),
        identity="bench",
        taps=taps,
        windows=_WINDOWS,
        divisor=teacher.divisor,
        patch=size,
        spacing_mm=1.5,
        settings=CacheSettings(device=settings.device),
    )
    return TeacherCacheSource([case], cache.fill([case]), patches)


def _case(folder: Path, patch: int) -> CachedCase:
    """Return a prepared case of noise with one labelled block; the time of a step does not depend on what it shows."""
    rng = np.random.default_rng(0)
    shape = (patch + 32,) * 3
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(24, -24) for _ in shape)] = 1
    label[tuple(slice(32, -40) for _ in shape)] = 2
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    volume = Volume(rng.integers(-100, 200, shape).astype(np.int16), affine, "noise")
    return cache_case(volume, LabelMap(label, affine, KIDNEY_LABELS), folder / "case", "noise", 1.5)
