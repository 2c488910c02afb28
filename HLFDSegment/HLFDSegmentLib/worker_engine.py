"""The engine in a warm process of its own: Slicer never loads a network library, and never hangs or falls with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.config import SegmentSettings
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.jobs import Job, Jobs
from hlfd.labels import Label
from hlfd.volume import LabelMap, Volume
from HLFDSegmentLib.surfaces import SMOOTHING, Surface

_LOOK_S = 0.01
_STOP_S = 2.0
_PACKAGE = "HLFDSegmentLib"  # where the worker finds job_surfaces


class WorkerEngine:
    """Segments in the worker behind ``jobs``; ``settings`` may be exchanged between runs.

    ``jobs`` serves other jobs too, such as ``probe``. A client that is given instead of made here must know the
    package HLFDSegmentLib, and is closed by whoever made it.
    """

    def __init__(self, settings: SegmentSettings | None = None, jobs: Jobs | None = None) -> None:
        self.settings = settings or SegmentSettings()
        self.jobs = jobs or Jobs(packages=[_PACKAGE])
        self._own = jobs is None

    def run(self, volume: Volume, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> SegmentationResult:
        """Segment the volume; its array must stay as it is meanwhile. Raises the worker's ``HlfdError``."""
        on_event(Stage("start"))
        arguments = {"settings": asdict(self.settings), "affine": volume.affine.tolist(), "name": volume.name}
        job = self.jobs.submit("segment", arguments, {"volume": volume.array})
        try:
            _follow(job, on_event, cancel)
            labels = np.zeros(volume.shape, np.uint8)
            part = job.arrays["labels"]
            window = tuple(slice(start, start + size) for start, size in zip(job.result["start"], part.shape))
            labels[window] = part
            table = tuple(Label.from_dict(label) for label in job.result["labels"])
            return result_from_dict(job.result["result"], LabelMap(labels, volume.affine, table))
        finally:
            job.release()

    def surfaces(
        self,
        labels: NDArray[np.uint8],
        affine: NDArray[np.float64],
        values: list[int],
        cancel: CancelToken | None = None,
    ) -> dict[int, Surface]:
        """Return the closed surfaces of ``values``; see ``HLFDSegmentLib.surfaces``."""
        arguments = {"affine": affine.tolist(), "values": values, "smoothing": SMOOTHING}
        job = self.jobs.submit("surfaces", arguments, {"labels": labels})
        try:
            _follow(job, ignore, cancel)
            names = Surface.__dataclass_fields__
            return {
                value: Surface(**{name: np.array(job.arrays[f"{name}-{value}"]) for name in names}) for value in values
            }
        finally:
            job.release()

    def close(self) -> None:
        """End the worker."""
        if self._own:
            self.jobs.close()


def result_from_dict(values: Mapping[str, Any], label_map: LabelMap) -> SegmentationResult:
    """Return the result that ``SegmentationResult.to_dict`` wrote, with its label map."""
    known = {name: values[name] for name in SegmentationResult.__dataclass_fields__ if name in values}
    structures = tuple(Structure(**row) for row in values["structures"])
    lesions = tuple(Lesion(**{**row, "centroid_ras": tuple(row["centroid_ras"])}) for row in values["lesions"])
    regions = tuple((tuple(low), tuple(high)) for low, high in values.get("regions", ()))
    made = {"label_map": label_map, "structures": structures, "lesions": lesions, "regions": regions}
    lists = {name: tuple(values.get(name, ())) for name in ("warnings", "left_out_ml")}
    return SegmentationResult(**{**known, **made, **lists})


def _follow(job: Job, on_event: OnEvent, cancel: CancelToken | None) -> None:
    """Pass the job's events on until it is finished; raise its error."""
    try:
        while not job.wait(_LOOK_S):
            for event in job.take_events():
                on_event(event)
            if cancel is not None and cancel.cancelled:
                job.cancel()
    except BaseException:  # Ctrl-C in a script, or a listener that failed: nobody waits for the job any more
        job.cancel()
        job.wait(_STOP_S)
        raise
    for event in job.take_events():
        on_event(event)
    job.check()
