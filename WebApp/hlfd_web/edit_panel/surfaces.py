"""The surfaces of a corrected segmentation, made by the worker: Slicer's own conversion would hold up the page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import slicer

from hlfd.jobs import Job, Jobs
from hlfd.jobs.job import State
from hlfd_web.edit_panel.layers import layers_of
from HLFDSegmentLib.segmentations import surface_to_polydata
from HLFDSegmentLib.surfaces import SMOOTHING, Surface

_NAMES = tuple(Surface.__dataclass_fields__)


class SurfaceMaker:
    """Makes the surfaces of one segmentation at a time; ``jobs`` gives the worker's client when it is first needed."""

    def __init__(self, jobs: Callable[[], Jobs]) -> None:
        self._jobs = jobs
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._running: list[tuple[Job, dict[str, int]]] = []
        self._done: Callable[[], None] | None = None

    @property
    def busy(self) -> bool:
        """Whether surfaces are being made."""
        return bool(self._running)

    def start(self, node: slicer.vtkMRMLSegmentationNode, done: Callable[[], None]) -> None:
        """Begin to make the surfaces of ``node``; ``done`` is called when they are in it."""
        self.cancel()
        self._node, self._done = node, done
        for layer in layers_of(node):
            values = {"affine": layer.affine.tolist(), "values": [*layer.values.values()], "smoothing": SMOOTHING}
            labels = layer.array.astype(np.uint8)
            self._running.append((self._jobs().submit("surfaces", values, {"labels": labels}), layer.values))

    def cancel(self) -> None:
        """Make none: the segmentation is being changed again."""
        for job, _values in self._running:
            job.cancel()
            job.release()
        self._running.clear()
        self._node = None

    def poll(self) -> None:
        """Put what was made into the segmentation; a failure leaves it without surfaces."""
        if not self._running or not all(job.finished for job, _values in self._running):
            return
        finished, self._running = self._running, []
        node, self._node = self._node, None
        if node is not None and node.GetScene() is not None:
            was_modifying = node.StartModify()
            for job, values in finished:
                if job.state is State.DONE:
                    _put(node, job, values)
            if self._done is not None:
                self._done()
            node.Modified()
            node.EndModify(was_modifying)
        for job, _values in finished:
            job.release()


def _put(node: slicer.vtkMRMLSegmentationNode, job: Job, values: dict[str, int]) -> None:
    segmentation = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    for segment_id, value in values.items():
        segment = segmentation.GetSegment(segment_id)
        if segment is not None:
            surface = Surface(**{part: np.array(job.arrays[f"{part}-{value}"]) for part in _NAMES})
            segment.AddRepresentation(name, surface_to_polydata(surface))
    segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)
