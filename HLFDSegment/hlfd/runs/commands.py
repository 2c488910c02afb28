"""A run as the command that does the same elsewhere, such as on a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hlfd.runs.settings import AnySettings, DistilSettings, RunSettings


def command(settings: AnySettings, data: Path | str = "", out: Path | str = "", processes: int = 1) -> str:
    """Return the command line that does what ``settings`` say with ``data``, for a shell.

    A distillation is started by ``torchrun`` where ``processes`` (GPUs of one machine) are more than one. ``out`` is
    the folder of a fine-tuning.
    """
    if isinstance(settings, DistilSettings):
        return _distil(settings, data, processes)
    return _finetune(settings, data, out)


def _finetune(settings: RunSettings, data: Path | str, out: Path | str) -> str:
    usual = RunSettings()
    words: list[Any] = ["hlfd", "finetune", settings.model, "--data", settings.project or data or "PROJECT"]
    words += ["--out", out or "finetuned", "--method", settings.method if settings.guided else "none"]
    if settings.teacher and settings.guided:
        words += ["--teacher", settings.teacher]
    words += ["--steps", settings.steps] if settings.steps else ["--minutes", f"{settings.minutes:g}"]
    options = {
        "--guide": "guide_weight",
        "--lr": "lr",
        "--device": "device",
        "--replay": "replay_share",
        "--patch": "patch",
        "--batch": "batch_size",
        "--seed": "seed",
    }
    for option, name in options.items():
        value = getattr(settings, name)
        if value != getattr(usual, name) and not (name == "guide_weight" and not settings.guided):
            words += [option, f"{value:g}" if isinstance(value, float) else value]
    return _shell(words)


def _distil(settings: DistilSettings, data: Path | str, processes: int) -> str:
    start: list[Any] = ["hlfd"]
    if processes > 1:
        start = ["torchrun", "--standalone", f"--nproc-per-node={processes}", "-m", "hlfd"]
    words = [*start, "train", settings.recipe, "--data", settings.data or data or "DATA"]
    words += ["--stages", *settings.stages] if settings.stages else []
    words += ["--fold", *settings.folds] if settings.folds else []
    words += ["--steps", settings.steps] if settings.steps else []
    return _shell(words)


def _shell(words: list[Any]) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)
