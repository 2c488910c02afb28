"""The job ``features``: feature maps of teacher and student on one region of a volume, and numbers that compare them.

Arguments: ``settings`` (the fields of ``SegmentSettings``), ``affine`` (4x4 IJK->RAS in mm), ``name``, ``request`` (the
fields of ``hlfd.viewer.FeatureRequest``). Array in: ``volume`` (k, j, i), int16 or float32 HU. Answer and arrays out:
see ``hlfd.viewer.look.Look.run``; with ``seconds``, ``device``, ``model`` and ``notice``.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hlfd.config import SegmentSettings, from_mapping
from hlfd.errors import EmptyInputError, TorchMissingError
from hlfd.events import Stage
from hlfd.inference.segmenter import Segmenter
from hlfd.viewer.request import FeatureRequest
from hlfd.volume import Volume
from hlfd.worker.classify import classify
from hlfd.worker.context import JobContext
from hlfd.worker.job_segment import easier, load_segmenter

if TYPE_CHECKING:
    from hlfd.viewer.networks import Viewed


@dataclass(frozen=True)
class _Networks:
    """What stays loaded; ``device`` lets the worker give GPU memory back when idle."""

    networks: tuple[Viewed, ...]
    device: str


def run(context: JobContext) -> Mapping[str, Any]:
    """Look at the volume; see the top of this file."""
    settings = from_mapping(SegmentSettings, dict(context.arguments.get("settings", {})))
    request = FeatureRequest.of(context.arguments.get("request", {}))
    if "volume" not in context.arrays:
        raise EmptyInputError("The job holds no volume.", "Load a CT and choose it as input.")
    if importlib.util.find_spec("torch") is None:
        raise TorchMissingError(
            "Feature maps need torch, which is not installed.", "Install torch in the Setup section of HLFD Segment."
        )
    affine = np.array(context.arguments["affine"], np.float64)
    volume = Volume(context.arrays["volume"], affine, str(context.arguments.get("name", "")))
    warnings: list[str] = []
    while True:
        try:
            return _look(context, volume, settings, request, warnings)
        except Exception as error:  # whatever the libraries raise when the GPU is full
            known = classify(error)
            if known.code != "gpu_out_of_memory" or easier(known, settings) is None:
                raise
        settings = SegmentSettings(**{**vars(settings), "device": "cpu", "backend": "auto"})
        context.warm.clear()
        warnings.append("The GPU has too little free memory, so the CPU was used.")


def _look(
    context: JobContext, volume: Volume, settings: SegmentSettings, request: FeatureRequest, warnings: list[str]
) -> dict[str, Any]:
    import torch

    from hlfd.viewer.look import Look

    segmenter = load_segmenter(context, settings)
    networks = _load_networks(context, segmenter, request.teacher)
    torch.set_num_threads(segmenter.threads)
    begin = time.perf_counter()
    look = Look(segmenter, networks, request, context.save, context.on_event, context.cancel, list(warnings))
    answer = look.run(volume)
    package = segmenter.package
    return {
        **answer,
        "seconds": time.perf_counter() - begin,
        "device": segmenter.device,
        "model": f"{package.name}/{package.version}",
        "notice": package.notice,
    }


def _load_networks(context: JobContext, segmenter: Segmenter, teacher: Any) -> tuple[Viewed, ...]:
    from hlfd.viewer.networks import load_networks

    def load() -> _Networks:
        context.on_event(Stage("load networks"))
        return _Networks(load_networks(segmenter.package, teacher, segmenter.device), segmenter.device)

    package = segmenter.package
    stamp = (package.folder / "model.json").stat().st_mtime_ns
    key = ("viewer", str(package.folder), stamp, segmenter.device, json.dumps(teacher, sort_keys=True, default=str))
    return context.warm.get(key, load).networks
