"""The job ``probe``: what this machine has to compute with, and what would be used.

Arguments: ``settings`` (fields of ``SegmentSettings``, for which ``chosen`` answers), ``deep`` (import torch also
where no NVIDIA driver is loaded, to learn whether it works), ``load`` (load the model too, so that the next job
finds it loaded). Answer::

    {"python": "3.12.4", "platform": "...", "executable": "...", "hlfd": "0.1.0",
     "packages": {"openvino": "2026.4.1" or null, "torch": ..., "SimpleITK": ..., "numpy": ...},
     "torch": {"imported": true, "cuda": "12.8" or null, "problem": null or a sentence},
     "devices": [{"id": "cpu", "name": "AMD EPYC", "threads": 2, "memory_mb": 23000, "free_mb": 19000, "usable": true},
                 {"id": "cuda:0", "name": "...", "memory_mb": ..., "free_mb": ..., "driver": "...", "usable": true}],
     "chosen": {"backend": "openvino", "device": "cpu", "problem": null, "code": null}}
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd import __version__
from hlfd.config import SegmentSettings, from_mapping
from hlfd.inference.backends import choose_backend, cpu_threads, nvidia_present
from hlfd.models.registry import find
from hlfd.worker.classify import classify
from hlfd.worker.context import JobContext
from hlfd.worker.job_segment import easier, load_segmenter

_PACKAGES = ("numpy", "SimpleITK", "openvino", "torch", "monai", "safetensors")
_QUERY = ("index", "name", "memory.total", "memory.free", "driver_version")
_SMI_SECONDS = 10.0


def run(context: JobContext) -> Mapping[str, Any]:
    """Look at the machine; see the top of this file."""
    settings = from_mapping(SegmentSettings, dict(context.arguments.get("settings", {})))
    torch = _torch(bool(context.arguments.get("deep")))
    context.cancel.check()
    chosen = _chosen(settings)
    if context.arguments.get("load") and not chosen["problem"]:
        load_segmenter(context, settings)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        "hlfd": __version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "torch": torch,
        "devices": [_cpu(settings), *_gpus(torch)],
        "chosen": chosen,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch(deep: bool) -> dict[str, Any]:
    """Import torch where it could matter; a probe of a machine without GPU costs no seconds for it."""
    facts: dict[str, Any] = {"imported": False, "cuda": None, "problem": None}
    if _version("torch") is None or not (deep or nvidia_present()):
        return facts
    try:
        import torch
    except Exception as error:  # a broken torch raises anything
        return {**facts, "problem": str(classify(error))}
    facts.update(imported=True, cuda=torch.version.cuda)
    if nvidia_present() and not torch.cuda.is_available():
        facts["problem"] = (
            "This torch was built without CUDA, so it cannot use the GPU. Install torch for CUDA."
            if torch.version.cuda is None
            else f"torch for CUDA {torch.version.cuda} cannot use the GPU. Update the driver of the graphics card."
        )
    return facts


def _cpu(settings: SegmentSettings) -> dict[str, Any]:
    total, free = memory_mb()
    facts = {"id": "cpu", "name": _cpu_name(), "threads": cpu_threads(settings), "usable": True}
    return {**facts, "memory_mb": total, "free_mb": free}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "CPU"


def memory_mb() -> tuple[int | None, int | None]:
    """Return total and available memory in MiB, None where the system does not tell without further packages."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        values = {words[0].rstrip(":"): int(words[1]) // 1024 for words in lines}
        return values.get("MemTotal"), values.get("MemAvailable")
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20, None
    return None, None


def _gpus(torch_facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the NVIDIA GPUs as the driver tells them, also where torch cannot use them."""
    command = shutil.which("nvidia-smi")
    if command is None or not nvidia_present():
        return []
    arguments = [command, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"]
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True, creationflags=flags
        )
    except (OSError, subprocess.SubprocessError):
        return []
    usable = bool(torch_facts["imported"]) and torch_facts["problem"] is None
    return [gpu for line in done.stdout.splitlines() if (gpu := read_gpu(line, usable)) is not None]


def read_gpu(line: str, usable: bool) -> dict[str, Any] | None:
    """Read one line of nvidia-smi: index, name, total and free memory in MiB, driver version; None where it is none."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) < len(_QUERY) or not fields[0].isdigit():
        return None
    total, free, driver = fields[-3:]
    return {
        "id": f"cuda:{fields[0]}",
        "name": ", ".join(fields[1:-3]),
        "memory_mb": int(total) if total.isdigit() else None,
        "free_mb": int(free) if free.isdigit() else None,
        "driver": driver,
        "usable": usable,
    }


def _chosen(settings: SegmentSettings) -> dict[str, Any]:
    """Return what ``segment`` would use; ``problem`` says why it could not, or what it would do without."""
    said: str | None = None
    while True:
        try:
            package = find(settings.model, verify=False)
            backend, device = choose_backend(settings, (package.locator, package.refiner))
            return {"backend": backend, "device": device, "problem": said, "code": None}
        except Exception as error:  # a broken torch raises anything
            known = classify(error)
            following = easier(known, settings)
            if following is None:
                return {"backend": None, "device": None, "problem": str(known), "code": known.code}
        settings, said = following
