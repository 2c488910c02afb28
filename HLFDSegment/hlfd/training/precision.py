"""Choice of device and of the precision that it really computes in."""

from __future__ import annotations

import contextlib
import functools
import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from hlfd.config import look_up
from hlfd.errors import DeviceError
from hlfd.training.settings import PRECISIONS


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; raise ``DeviceError`` if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"There is no {name}: {torch.cuda.device_count()} CUDA devices.", "Use --device cpu.")
    return device


def cpu_computes_bfloat16() -> bool:
    """Whether the CPU has bfloat16 arithmetic; without it bfloat16 is 16 to 400 times slower than float32."""
    try:
        flags = torch.cpu.get_capabilities()
        return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    except (AttributeError, RuntimeError):
        pass
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as stream:
        text = stream.read()
        return "avx512_bf16" in text or "amx_bf16" in text
    return False


@functools.cache
def cpu_gains_by_bfloat16() -> bool:
    """Whether 3-D convolutions are faster in bfloat16 here, measured once per process in a tenth of a second.

    That a processor has bfloat16 arithmetic does not tell: the same step of the student takes a quarter of the time on
    an AMD Zen 5 and 1.3 times as long on an Intel Xeon with AVX-512 bfloat16 but without AMX.
    """
    if not cpu_computes_bfloat16():
        return False
    seconds = {dtype: min(_seconds(dtype) for _ in range(3)) for dtype in (torch.float32, torch.bfloat16)}
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]


def _seconds(dtype: torch.dtype) -> float:
    image = torch.zeros(1, 32, 32, 32, 32).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.zeros(32, 32, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        start = time.perf_counter()
        functional.conv3d(image, weight, padding=1)
        return time.perf_counter() - start


@dataclass(frozen=True)
class Precision:
    """Device and type of the automatic mixed precision; ``dtype`` float32 means none."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which networks and losses run."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Resolve ``auto``, ``float32``, ``bfloat16`` or ``float16`` for ``device``.

    Raises ``DeviceError`` for a half precision that the CPU would only emulate.
    """
    look_up(name, PRECISIONS, "precision")
    if device.type == "cuda":
        if name == "auto":
            name = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        return Precision(device, getattr(torch, name))
    if name == "auto":
        name = "bfloat16" if device.type == "cpu" and cpu_gains_by_bfloat16() else "float32"
    if name == "float16" or (name == "bfloat16" and not cpu_computes_bfloat16()):
        raise DeviceError(f"This CPU has no {name} arithmetic.", "Use precision auto or float32.")
    return Precision(device, getattr(torch, name))
