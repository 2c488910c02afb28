"""What the machine can do: its matrix product rate, and how much memory a process took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hlfd.errors import MissingDependencyError
from hlfd.inference.backends import openvino_core

_SIZE = 2048


def best_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of ``repeats`` runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def gemm_gflops() -> tuple[float, str]:
    """Return the float32 matrix product rate in GFLOP/s (2048^3, best of several runs) and the library that reached it.

    The fastest of NumPy's BLAS, OpenVINO and, where it is imported already, torch: the honest peak of the process.
    """
    a = np.random.default_rng(0).random((_SIZE, _SIZE), np.float32)
    calls: dict[str, Callable[[], object]] = {"numpy": lambda: a @ a}
    with contextlib.suppress(ImportError):
        calls["openvino"] = _openvino_product(a)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        tensor = torch.from_numpy(a)
        calls["torch"] = lambda: tensor @ tensor
    rates = {name: 2 * _SIZE**3 / best_seconds(call, 5) / 1e9 for name, call in calls.items()}
    best = max(rates, key=lambda name: rates[name])
    return rates[best], best


def _openvino_product(a: np.ndarray) -> Callable[[], object]:
    import openvino
    from openvino import opset13 as ops

    left, right = (ops.parameter([_SIZE, _SIZE], np.float32) for _ in range(2))
    model = openvino.Model([ops.matmul(left, right, False, False)], [left, right], "gemm")
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino_core().compile_model(model, "CPU", config).create_infer_request()
    return lambda: request.infer({0: a, 1: a})


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, not inherited from the parent process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    if sys.platform == "win32":
        try:
            import psutil
        except ImportError as error:
            raise MissingDependencyError("Memory cannot be measured without psutil.", "pip install psutil") from error
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
