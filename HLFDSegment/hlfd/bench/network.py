"""Time and work of one network pass, as a share of what the machine's matrix product reaches."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.bench.machine import best_seconds, gemm_gflops
from hlfd.config import SegmentSettings
from hlfd.errors import MissingDependencyError
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.inference.backends import OpenvinoBackend, cpu_threads, openvino_core
from hlfd.inference.tiling import Backend
from hlfd.models.package import ModelPackage, NetworkEntry

PATCH = 128


def gflop(ir: Path, channels: int, patch: int = PATCH) -> float:
    """Return the work of the convolutions and products of an OpenVINO model in GFLOP (2 per multiply-add)."""
    model = openvino_core().read_model(str(ir))
    model.reshape([1, channels, patch, patch, patch])
    return sum(_work(op) for op in model.get_ops()) / 1e9


def _work(op: Any) -> float:
    kind = op.get_type_name()
    if kind not in ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"):
        return 0.0
    weights = list(op.input(1).get_shape())
    if _only_moves(op):
        return 0.0
    if kind == "MatMul":
        return 2.0 * float(np.prod(list(op.output(0).get_shape()))) * weights[-2]
    # The whole kernel is applied once per output voxel, in a transposed convolution once per input voxel.
    side = op.input(0) if kind == "ConvolutionBackpropData" else op.output(0)
    voxels = float(np.prod(list(side.get_shape())[2:]))
    return 2.0 * voxels * float(np.prod(weights))


def _only_moves(op: Any) -> bool:
    """Return whether the weights are zeros and ones: such a convolution adds or places channels and learned nothing."""
    node = op.input_value(1).get_node()
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant" and bool(np.isin(node.data, (0, 1)).all())


def nnunet_like(channels: int, classes: int, folder: Path) -> Path:
    """Export the full-size teacher architecture (``dynunet``, 31 M parameters, as nnU-Net builds) and return its IR.

    Its weights are random: the time of a pass does not depend on them.
    """
    from hlfd.networks import build_network, export_openvino

    return export_openvino(build_network("dynunet", in_channels=channels, classes=classes), folder / "dynunet.xml")


def openvino_file(entry: NetworkEntry, folder: Path) -> Path:
    """Return the network's IR, exported into ``folder`` where the package ships none (needs torch)."""
    if entry.openvino is not None:
        return entry.openvino
    try:
        from hlfd.models.build import load_network
        from hlfd.networks import export_openvino
    except ImportError as error:
        raise MissingDependencyError(
            f'"{entry.weights.stem}" has no OpenVINO model and cannot be exported: {error}.', 'Install "hlfd[train]".'
        ) from error
    return export_openvino(load_network(entry), folder / f"{entry.weights.stem}.xml", half=False)


def pass_seconds(backend: Backend, channels: int, patch: int = PATCH, repeats: int = 3) -> float:
    """Return the time of one pass over a cubic patch, best of ``repeats`` after a first one on a smaller patch."""
    rng = np.random.default_rng(0)
    backend.infer(rng.uniform(-1, 1, (1, channels, patch // 2, patch // 2, patch // 2)).astype(np.float32))
    image = rng.uniform(-1, 1, (1, channels, patch, patch, patch)).astype(np.float32)
    return best_seconds(lambda: backend.infer(image), repeats)


def run_network_bench(
    package: ModelPackage,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    patch: int = PATCH,
    threads: int = 0,
) -> dict[str, Any]:
    """Measure the package's refiner (the student), locator and teacher in both backends on the CPU.

    Returns ``gemm_gflops``, ``gemm_library``, ``patch`` and ``networks``: one row per network and backend with
    ``gflop``, ``ms``, ``gflops`` and ``gemm_share``. Backends that are not installed are left out.
    """
    entries = {"student": package.refiner, "locator": package.locator, "teacher": package.teacher}
    count = cpu_threads(SegmentSettings(threads=threads))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, entry in entries.items():
            if entry is None:
                continue
            ir = openvino_file(entry, Path(folder))
            work = gflop(ir, len(entry.windows), patch)
            for kind in ("openvino", "torch"):
                if cancel is not None:
                    cancel.check()
                on_event(Stage(f"{name}, {kind}"))
                backend = _backend(entry, kind, ir, count)
                if backend is None:
                    continue
                seconds = pass_seconds(backend, len(entry.windows), patch, 1 if name == "teacher" else 3)
                rows.append({"network": name, "backend": kind, "gflop": work, "ms": seconds * 1000})
    rate, library = gemm_gflops()
    for row in rows:
        row["gflops"] = row["gflop"] / row["ms"] * 1000
        row["gemm_share"] = row["gflops"] / rate
    return {"gemm_gflops": rate, "gemm_library": library, "patch": patch, "networks": rows}


def _backend(entry: NetworkEntry, kind: str, ir: Path, threads: int) -> Backend | None:
    if kind == "openvino":
        return OpenvinoBackend(ir, threads)
    try:
        from hlfd.inference.torch_backend import TorchBackend

        return TorchBackend.load(entry, "cpu", threads)
    except ImportError:
        return None
