"""The two backends: OpenVINO on the CPU, and torch on CUDA or the CPU.

Neither library is imported before it is used, so that a CPU segmentation costs no import of torch.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hlfd.config import SegmentSettings
from hlfd.errors import DeviceError, MissingDependencyError, ModelError
from hlfd.inference.openvino_graph import move_channels
from hlfd.models.package import NetworkEntry
from hlfd.ranks import current_ranks

if TYPE_CHECKING:
    from hlfd.inference.tiling import Backend

_PROBE = 64
_IMPERFECT_REUSE = 1.6  # resident memory measured against the sum of the largest step's tensors


def cpu_threads(settings: SegmentSettings) -> int:
    """Return the number of CPU threads to use; processes that share a job share the machine."""
    if settings.threads:
        return settings.threads
    affinity = getattr(os, "sched_getaffinity", None)
    threads = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, threads // current_ranks().local_size)


class OpenvinoBackend:
    """One network compiled by OpenVINO for the CPU, for all input sizes at once."""

    name = "openvino"
    device = "cpu"

    def __init__(self, model: Any, threads: int) -> None:
        """Compile an ``openvino.Model`` or the path of an IR file, in float32 so that all machines agree."""
        openvino, core = _import_openvino(), openvino_core()
        self._model = core.read_model(str(model)) if not hasattr(model, "get_ops") else model.clone()
        move_channels(self._model)
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": str(threads),
        }
        self._request = core.compile_model(self._model, "CPU", config).create_infer_request()
        self._tensor = openvino.Tensor
        self._classes = self._model.output(0).get_partial_shape()[1].get_length()
        self._logits: NDArray[np.float32] | None = None
        self._bytes_per_voxel = 0.0

    @classmethod
    def load(cls, entry: NetworkEntry, threads: int) -> OpenvinoBackend:
        """Read and compile the IR of a package's network; raise ``ModelError`` if it has none or a damaged one."""
        if entry.openvino is None:
            raise ModelError(
                f'The network "{entry.weights.stem}" of this package has no OpenVINO model.',
                "Use the torch backend, or export the package again.",
            )
        try:
            return cls(entry.openvino, threads)
        except RuntimeError as error:
            raise ModelError(
                f'OpenVINO cannot use "{entry.openvino}": {error}.', "Import the package again."
            ) from error

    def infer(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits (classes, z, y, x) of (1, channels, z, y, x)."""
        logits = np.empty((1, self._classes, *channels.shape[2:]), np.float32)
        # Written where it is returned: a copy took a tenth of the pass. The array lives while its address is known.
        self._request.set_output_tensor(0, self._tensor(logits, shared_memory=True))
        self._logits = logits
        self._request.infer({0: self._tensor(np.ascontiguousarray(channels), shared_memory=True)})
        return logits[0]

    def bytes_per_voxel(self) -> float:
        """Return the largest step's inputs and outputs plus its largest tensor again, for the skip connections."""
        if not self._bytes_per_voxel:
            model = self._model.clone()
            channels = model.input(0).get_partial_shape()[1].get_length()
            model.reshape([1, channels, _PROBE, _PROBE, _PROBE])
            self._bytes_per_voxel = bytes_per_voxel([_op_tensors(op) for op in model.get_ops()])
        return self._bytes_per_voxel


def _op_tensors(op: Any) -> list[int]:
    """Return the number of elements of the tensors that depend on the input, of one operation."""
    ports = [*op.inputs(), *op.outputs()] if op.get_type_name() not in ("Constant", "Parameter", "Result") else []
    sizes = [int(np.prod(list(port.get_shape()))) for port in ports if port.get_partial_shape().is_static]
    return [size for size in sizes if size >= _PROBE]


def bytes_per_voxel(steps: list[list[int]]) -> float:
    """Estimate the memory of a pass from the tensor sizes of each step on a cube of 64 voxels a side."""
    largest = max((max(sizes) for sizes in steps if sizes), default=_PROBE**3)
    step = max((sum(sizes) for sizes in steps), default=0)
    return 4.0 * _IMPERFECT_REUSE * (step + largest) / _PROBE**3


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError(
            "The OpenVINO backend needs the package openvino, which is not installed.",
            'Install it with: pip install "hlfd[cpu]", or choose --backend torch.',
        ) from error
    return openvino


@functools.cache
def openvino_core() -> Any:
    """Return the one ``openvino.Core`` of this process, which is never given up.

    A core whose CPU plugin ends gives the main thread back the signal stack that was there when it began. Where two
    have lived that may be the freed one of the other, and the next signal, such as the end of a child process, ends
    the program with a segmentation fault (OpenVINO 2026.4).
    """
    return _import_openvino().Core()


def choose_backend(settings: SegmentSettings, entries: tuple[NetworkEntry | None, ...]) -> tuple[str, str]:
    """Return (backend, device) for the settings: torch on CUDA if there is one, else openvino, else torch on the CPU.

    Raises ``DeviceError`` for a CUDA device that is not there and ``MissingDependencyError`` for a missing backend.
    """
    has_openvino = _installed("openvino")
    has_torch = _installed("torch")
    if settings.backend == "openvino" and has_openvino:
        return "openvino", "cpu"
    if settings.backend == "openvino":
        _import_openvino()
    wants_cuda = settings.device.startswith("cuda")
    if wants_cuda or (settings.device == "auto" and has_torch and nvidia_present()):
        cuda = _cuda_device(settings.device) if has_torch else None
        if cuda:
            return "torch", cuda
        if wants_cuda:
            raise DeviceError(
                f'The device "{settings.device}" is not available.', "Choose --device cpu, or install torch for CUDA."
            )
    exported = all(entry is None or entry.openvino is not None for entry in entries)
    if settings.backend == "auto" and has_openvino and exported:
        return "openvino", "cpu"
    if not has_torch:
        raise MissingDependencyError(
            "No backend for this model is installed: neither openvino nor torch could be used.",
            'Install one with: pip install "hlfd[cpu]".',
        )
    return "torch", "cpu"


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def nvidia_present() -> bool:
    """Return whether a CUDA driver is loaded, without the seconds that importing torch takes."""
    return os.path.exists("/proc/driver/nvidia/version") or os.path.exists(r"C:\Windows\System32\nvcuda.dll")


def _cuda_device(wanted: str) -> str | None:
    import torch

    own = current_ranks().local_rank % max(torch.cuda.device_count(), 1)
    index = int(wanted.removeprefix("cuda:")) if wanted.startswith("cuda:") else own
    return f"cuda:{index}" if torch.cuda.is_available() and index < torch.cuda.device_count() else None


def load_backend(entry: NetworkEntry, kind: str, device: str, threads: int) -> Backend:
    """Load one network of a package on the chosen backend and device."""
    if kind == "openvino":
        return OpenvinoBackend.load(entry, threads)
    from hlfd.inference.torch_backend import TorchBackend

    return TorchBackend.load(entry, device, threads)
