"""The job ``segment``: labels and measurements of one volume.

Arguments: ``settings`` (the fields of ``SegmentSettings``), ``affine`` (4x4 IJK->RAS in mm), ``name``. Array in:
``volume`` (k, j, i), int16 or float32 HU. Answer: ``result`` (``SegmentationResult.to_dict``), ``labels`` (its table),
``start`` (k, j, i) and ``notice`` of the model; array out: ``labels`` (k, j, i) uint8, cut to what is not background,
whose first voxel is at ``start``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hlfd.config import SegmentSettings, from_mapping
from hlfd.errors import EmptyInputError, GpuOutOfMemoryError, HlfdError, TorchBrokenError, TorchMissingError
from hlfd.events import Stage, Warn
from hlfd.inference.result import SegmentationResult
from hlfd.inference.segmenter import Segmenter
from hlfd.models.package import load_package
from hlfd.models.registry import find_folder
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices
from hlfd.volume import Volume
from hlfd.worker.classify import classify
from hlfd.worker.context import JobContext

_SMALL_MB = 300


def run(context: JobContext) -> Mapping[str, Any]:
    """Segment the volume; see the top of this file."""
    settings = from_mapping(SegmentSettings, dict(context.arguments.get("settings", {})))
    if "volume" not in context.arrays:
        raise EmptyInputError("The job holds no volume.", "Load a CT and choose it as input.")
    affine = np.array(context.arguments["affine"], np.float64)
    volume = Volume(context.arrays["volume"], affine, str(context.arguments.get("name", "")))
    if settings.device.startswith("cuda") and importlib.util.find_spec("torch") is None:
        raise TorchMissingError(
            f'The device "{settings.device}" needs torch, which is not installed.',
            "Install torch in the Setup section of HLFD Segment, or choose the device CPU.",
        )
    result, notice = _segment(context, volume, settings)
    low, high = index_box(result.label_map.array)
    part = result.label_map.array[box_slices(low, high)]
    context.save("labels", np.ascontiguousarray(part))
    table = [label.to_dict() for label in result.label_map.labels]
    return {"result": result.to_dict(), "labels": table, "start": [int(v) for v in low], "notice": notice}


def _segment(context: JobContext, volume: Volume, settings: SegmentSettings) -> tuple[SegmentationResult, str]:
    """Segment; where the GPU cannot, try again in an easier way, and say so in the result."""
    warnings: list[str] = []
    while True:
        try:
            model = load_segmenter(context, settings)
            device = model.device
            result = model.run(volume, context.on_event, context.cancel)
            if model.device != device:
                context.warm.clear()  # it went on on the CPU; the next job shall try the GPU again
            return replace(result, warnings=(*warnings, *result.warnings)), model.package.notice
        except Exception as error:  # whatever the libraries raise when the GPU is full
            following = easier(classify(error), settings)
            if following is None:
                raise
        settings, said = following
        context.warm.clear()
        warnings.append(said)
        context.on_event(Warn(said))


def load_segmenter(context: JobContext, settings: SegmentSettings) -> Segmenter:
    """Return the model for ``settings``, kept loaded from an earlier job unless its files changed since."""
    folder = find_folder(settings.model)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamps = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)

    def load() -> Segmenter:
        context.on_event(Stage("load model"))
        return Segmenter(load_package(folder), settings)

    return context.warm.get(("segmenter", str(folder), stamps, replace(settings, model="")), load)


def easier(error: HlfdError, settings: SegmentSettings) -> tuple[SegmentSettings, str] | None:
    """Return settings that need less of the GPU and a sentence that says so, or None when nothing can be changed."""
    if settings.device == "cpu":
        return None
    on_cpu = replace(settings, device="cpu", backend="auto")
    if isinstance(error, TorchBrokenError) and settings.device == "auto":
        return on_cpu, "torch is installed but cannot be loaded, so the CPU was used."
    if not isinstance(error, GpuOutOfMemoryError):
        return None
    if settings.memory_mb > _SMALL_MB:
        smaller = replace(settings, memory_mb=max(_SMALL_MB, settings.memory_mb // 4))
        return smaller, "The GPU ran out of memory, so the image was worked on in smaller blocks."
    return on_cpu, "The GPU has too little free memory, so the CPU was used."
