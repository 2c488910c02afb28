"""Reading a CT, with or without a segmentation, without blocking the session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from hlfd.errors import HlfdError
from hlfd.events import Event, Warn
from hlfd.inference.result import SegmentationResult
from hlfd.io import SeriesInfo, list_series, read_label_map, read_volume
from hlfd.io.dicom import choose_series
from hlfd.jobs.courier import Courier
from hlfd.volume import LabelMap
from HLFDSegmentLib.label_arrays import Part, labelled_part
from HLFDSegmentLib.segment_logic import Segmented
from HLFDSegmentLib.segmentations import segmentation_from_label_map
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.surfaces import Surfaces, closed_surfaces
from HLFDSegmentLib.tables import lesions_table, structures_table
from HLFDSegmentLib.volumes import volume_to_node
from HLFDTrainLib.steps import Steps, Task, in_thread

if TYPE_CHECKING:
    from hlfd_web.results_store import ResultsStore

SOURCE, SERIES = "HLFD.Source", "HLFD.Series"
"""Attributes of a volume node: its name in the data root, and the UID of its DICOM series."""
_CLOSE_S = 2.0


@dataclass(frozen=True)
class Drawing:
    """A label map with all that costs time to make of it."""

    label_map: LabelMap
    part: Part
    surfaces: Surfaces


def draw(label_map: LabelMap) -> Drawing:
    """Make what the views need of a label map; may be called in any thread."""
    part = labelled_part(label_map)
    shift = np.eye(4)
    shift[:3, 3] = part.start[::-1]
    made = closed_surfaces(part.array, label_map.affine @ shift, sorted(part.values))
    return Drawing(label_map, part, Surfaces(label_map.affine, made))


@dataclass(frozen=True)
class Wanted:
    """What to open: ``source`` is the name of ``path`` in the data root; ``result`` is a folder of results."""

    path: Path
    source: str
    title: str = ""
    series: str = ""
    result: str = ""


class Loader:
    """Reads one thing at a time in a thread; its signals follow from ``poll()``.

    ``loaded(node, segmented)`` with the volume node and, where one was asked for, the stored result, else None;
    ``labels(node)`` with a segmentation of the volume that is shown; ``choice(wanted, series)`` where a folder holds
    several series; ``warned(text)``; ``failed(error)``.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, results: ResultsStore) -> None:
        self.loaded = Signal("node", "segmented")
        self.labels = Signal("node")
        self.choice = Signal("wanted", "series")
        self.warned = Signal("text")
        self.failed = Signal("error")
        self._scene, self._results = scene, results
        self._courier = Courier()
        self._steps = Steps(self._on_end)

    @property
    def busy(self) -> bool:
        """Whether something is being read."""
        return bool(self._steps.name)

    def open(self, wanted: Wanted) -> None:
        """Begin to read a CT; raises ``UsageError`` while another one is being read."""
        self._steps.start("open", self._opening(wanted))

    def open_labels(self, path: Path, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
        """Begin to read a segmentation of a volume; raises ``UsageError`` while something else is being read."""
        self._steps.start("labels", self._labelling(path, volume_node))

    def poll(self) -> None:
        """Go on."""
        self._steps.poll()

    def cancel(self) -> None:
        """Do not wait for what is being read any longer."""
        self._steps.cancel()

    def close(self) -> None:
        """Wait for the thread, when the session ends."""
        self._steps.cancel()
        self._steps.poll()
        self._courier.close(_CLOSE_S)

    def _opening(self, wanted: Wanted) -> Task:
        events: list[Event] = []
        if wanted.path.is_dir() and not wanted.series:
            found = yield from in_thread(self._courier, lambda: list_series(wanted.path))
            scans = [one for one in found if one.modality == "CT"]
            if len(scans) > 1:
                return wanted, scans
            wanted = replace(wanted, series=choose_series(found, None).uid)
        volume = yield from in_thread(
            self._courier, lambda: read_volume(wanted.path, wanted.series or None, events.append)
        )
        stored = None
        if wanted.result:
            stored = yield from in_thread(self._courier, lambda: self._load_result(wanted.result))
        for event in events:
            if isinstance(event, Warn):
                self.warned.emit(event.message)
        node = volume_to_node(self._scene, volume, wanted.title or volume.name or wanted.path.name.split(".")[0])
        node.SetAttribute(SOURCE, wanted.source)
        node.SetAttribute(SERIES, wanted.series)
        if stored is None:
            return node, None
        result, drawing = stored
        segmentation = self._segmentation(node, drawing)
        tables = [
            write(self._scene, result, segmentation, f"{node.GetName()} {kind}")
            for kind, write in (("structures", structures_table), ("lesions", lesions_table))
        ]
        return node, Segmented(segmentation, *tables, result)

    def _load_result(self, folder: str) -> tuple[SegmentationResult, Drawing]:
        result = self._results.load(folder)
        return result, draw(result.label_map)

    def _labelling(self, path: Path, volume_node: slicer.vtkMRMLScalarVolumeNode) -> Task:
        drawing = yield from in_thread(self._courier, lambda: draw(read_label_map(path)))
        return self._segmentation(volume_node, drawing, path.name.split(".")[0])

    def _segmentation(self, volume_node: Any, drawing: Drawing, name: str = "") -> slicer.vtkMRMLSegmentationNode:
        return segmentation_from_label_map(
            *(self._scene, drawing.label_map, volume_node),
            name=name,
            always=(),
            part=drawing.part,
            surfaces=drawing.surfaces,
        )

    def _on_end(self, name: str, result: Any, error: HlfdError | None) -> None:
        if error is not None:
            self.failed.emit(error)
        elif name == "labels":
            self.labels.emit(result)
        elif isinstance(result[0], Wanted):
            self.choice.emit(*result)
        else:
            self.loaded.emit(*result)


def series_caption(series: SeriesInfo) -> str:
    """Return one line that tells a series from the others."""
    count = sum(header.frames for header in series.slices)
    return f"{series.description or 'Series'} (number {series.number or '-'}, {count} slices)"
