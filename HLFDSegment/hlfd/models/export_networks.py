"""The networks of a package as ONNX or OpenVINO IR, checked against torch; importing this module needs torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hlfd.errors import ModelError
from hlfd.events import OnEvent, Stage
from hlfd.models.build import load_network
from hlfd.models.package import ModelPackage, NetworkEntry
from hlfd.networks import SegmentationNetwork, export_onnx, export_openvino
from hlfd.networks.lean_merge import deployed

TOLERANCE = 1e-3
"""Largest difference of a logit from torch's that an export may have."""

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def write_onnx(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    """Write ``<role>.onnx`` for every network; returns their facts for ``export.json``."""
    return {"networks": {role: _onnx(role, entry, folder, on_event) for role, entry in package.networks().items()}}


def write_openvino(package: ModelPackage, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    """Write ``<role>.xml`` and ``<role>.bin`` for every network; returns their facts for ``export.json``."""
    return {"networks": {role: _openvino(role, entry, folder, on_event) for role, entry in package.networks().items()}}


def _onnx(role: str, entry: NetworkEntry, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    on_event(Stage(f"export {role}"))
    network = load_network(entry)
    path = export_onnx(deployed(network, sigmoid=False), folder / f"{role}.onnx")
    run = _onnx_runner(path) if importlib.util.find_spec("onnxruntime") else None
    return {**network_facts(entry), "file": path.name, **check_logits(network, run, "onnxruntime", path.name)}


def _openvino(role: str, entry: NetworkEntry, folder: Path, on_event: OnEvent) -> dict[str, Any]:
    on_event(Stage(f"export {role}"))
    return write_graph(role, entry, folder)


def write_graph(role: str, entry: NetworkEntry, folder: Path) -> dict[str, Any]:
    """Write a network as ``role``.xml and .bin for OpenVINO and return its facts and how far logits differ.

    Raises ``ModelError`` where they differ by more than rounding.
    """
    from hlfd.inference.backends import OpenvinoBackend

    network = load_network(entry)
    path = export_openvino(deployed(network), folder / f"{role}.xml")
    run = OpenvinoBackend(path, threads=1).infer
    return {**network_facts(entry), "file": path.name, **check_logits(network, run, "openvino", path.name)}


def _onnx_runner(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {"image": image})[0][0]
        return logits

    return run


def network_facts(entry: NetworkEntry) -> dict[str, Any]:
    """Return what a network takes and gives."""
    return {
        "input": "image, float32 (batch, windows, k, j, i), axes to superior, anterior and the patient's right",
        "output": "logits, float32 (batch, classes, k, j, i)",
        "spacing_mm": entry.spacing_mm,
        "windows": [list(window) for window in entry.windows],
        "window_range": [-1.0, 1.0],
        "classes": list(entry.classes),
        "divisor": entry.divisor,
    }


def check_logits(network: SegmentationNetwork, run: Runner | None, runtime: str, name: str) -> dict[str, Any]:
    """Compare the exported network with torch on one block; raise ``ModelError`` beyond ``TOLERANCE``.

    Without the runtime (``run`` is None) nothing is compared, which the returned facts say.
    """
    if run is None:
        return {"checked_with": None}
    facts = network.description
    sizes = [facts.divisor * (2 + axis % 2) for axis in range(facts.spatial_dims)]
    image = torch.rand(1, facts.in_channels, *sizes, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = network(image)[0].numpy()
    difference = float(np.abs(run(image.numpy()) - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f'The exported network "{name}" differs from torch by {difference:.2g} in a logit; at most {TOLERANCE:g} '
            "was expected.",
            f"Try another version of {runtime}, and report this.",
        )
    return {"checked_with": runtime, "largest_logit_difference": difference}
