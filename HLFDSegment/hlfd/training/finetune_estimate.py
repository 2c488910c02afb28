"""What a fine-tuning will take, from a few of its real steps: time, memory, and the patch that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.data.layouts import Case
from hlfd.distillation import Distillation
from hlfd.errors import OutOfMemoryError
from hlfd.events import CancelToken, OnEvent, Stage, Warn, ignore
from hlfd.models.registry import find
from hlfd.networks import SegmentationNetwork
from hlfd.teachers import TeacherSettings
from hlfd.training.finetune import Finetuning
from hlfd.training.finetune_data import Roles, labelled_cases
from hlfd.training.finetune_memory import free_memory_mb, want_of_memory
from hlfd.training.finetune_settings import NOTHING, FinetuneSettings
from hlfd.training.finetune_time import LEAST, MOST, most_steps, timed_step
from hlfd.training.precision import choose_device
from hlfd.training.source import PatchSource

_SHARE = 0.8
"""Of the free memory that a training may take."""
_OVERHEAD = 2.5
"""Peak over what autograd keeps: with the kidney student 44 MiB at 32 voxels and 182 MiB at 64, measured as the growth
of resident memory on a CPU, where 9 and 63 MiB were kept and 21 MiB are weights and the like."""
_STEPS = 2


def estimate(
    model: str | Path,
    data: Path,
    folder: Path,
    settings: FinetuneSettings,
    teacher: TeacherSettings | None = None,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
) -> dict[str, Any]:
    """Return ``steps``, ``seconds_per_step``, ``minutes``, ``memory_mb``, ``device``, ``patch``, ``batch_size`` and
    ``messages`` of a fine-tuning with these settings, which is tried on the smallest case in ``folder``.

    Preparation, replay and the comparison afterwards are not in ``minutes``. Raises what ``finetune`` raises.
    """
    messages: list[str] = []

    def hear(event: Any) -> None:
        if isinstance(event, Warn):
            messages.append(event.message)
        else:
            on_event(event)

    cases = labelled_cases(data)
    case = min(cases, key=_bytes)
    roles = Roles((case.id,), (case.id,), (case.id,))
    alone = replace(settings, replay_share=0.0)  # simulating patients takes longer than all the rest
    trial = Finetuning(find(model), data, folder, alone, teacher, (), hear, cancel, None, NOTHING)
    trial.cases, trial.roles = [case], roles
    cached = trial.prepare(folder / "prepared")
    on_event(Stage("measure"))
    device = choose_device(settings.device)
    while True:
        source = trial.source(cached, folder)
        network = trial.network()
        measured = _try(network, trial.objective(network), source, trial.memory.batch_size, device)
        limit = free_memory_mb(device)
        if measured is not None and (limit is None or measured["memory_mb"] <= _SHARE * limit):
            break
        if trial.memory.shrink("The memory of the GPU" if device.type == "cuda" else "The free memory"):
            continue
        if measured is None:
            raise OutOfMemoryError(
                "Not even one step with the smallest patches fits into the memory.", "Close other programs."
            )
        messages.append("Even the smallest patches may not fit into the memory.")
        break
    return _answer(settings, trial, measured, device, most_steps(len(cases)), messages)


def _bytes(case: Case) -> int:
    return case.image.stat().st_size if case.image.is_file() else 1 << 60


def _answer(
    settings: FinetuneSettings,
    trial: Finetuning,
    measured: dict[str, float],
    device: torch.device,
    most: int,
    messages: list[str],
) -> dict[str, Any]:
    seconds = measured["seconds"]
    steps = settings.steps or MOST
    if not settings.steps and settings.minutes:
        steps = int(min(max(60 * settings.minutes / seconds, LEAST), most))
    if not settings.steps and not settings.minutes:
        messages.append("It ends when the validation stops improving; the time is the longest that this may take.")
    return {
        "steps": steps,
        "seconds_per_step": round(seconds, 3),
        "minutes": round(steps * seconds / 60, 1),
        "memory_mb": round(measured["memory_mb"]),
        "device": str(device),
        "patch": trial.memory.patch,
        "batch_size": trial.memory.batch_size,
        "messages": messages,
    }


def _try(
    network: SegmentationNetwork, objective: Distillation, source: PatchSource, batch_size: int, device: torch.device
) -> dict[str, float] | None:
    """Return memory in MiB and seconds of a step, None where the memory does not even suffice for one."""
    try:
        return _measure(network, objective, source, batch_size, device)
    except (MemoryError, RuntimeError) as error:
        if want_of_memory(error) is None:
            raise
        return None


def _measure(
    network: SegmentationNetwork, objective: Distillation, source: PatchSource, batch_size: int, device: torch.device
) -> dict[str, float]:
    step = timed_step(network, objective, source, batch_size, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step(0)
        seconds = min(step(number) for number in range(1, 1 + _STEPS))
        return {"seconds": seconds, "memory_mb": torch.cuda.max_memory_allocated(device) / 2**20 + _state_mb(network)}
    kept = kept_for_backward_mb(lambda: step(0))
    seconds = min(step(number) for number in range(1, 1 + _STEPS))
    return {"seconds": seconds, "memory_mb": _OVERHEAD * kept + _state_mb(network)}


def kept_for_backward_mb(work: Callable[[], object]) -> float:
    """Return the MiB of all tensors that autograd keeps during ``work``, each storage once."""
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(storages.values()) / 2**20


def _state_mb(network: nn.Module) -> float:
    """Return the MiB of weights, gradients, the averaged copy and the optimiser's two moments."""
    return 5 * sum(parameter.numel() * parameter.element_size() for parameter in network.parameters()) / 2**20
