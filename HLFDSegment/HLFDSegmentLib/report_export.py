"""Report and table of a segmentation, from what a run left in its node: also after the scene was loaded again."""

from __future__ import annotations

import json
import logging
import queue
import threading
from pathlib import Path
from typing import Any

import slicer

from hlfd.errors import HlfdError, InputError, OutputError, UsageError
from hlfd.inference.result import SegmentationResult
from hlfd.models.registry import find
from hlfd.report import ReportInput, write_report
from hlfd.report.write import measurements_csv
from HLFDSegmentLib.edits import edited_segments
from HLFDSegmentLib.segmentations import label_map_from_segmentation
from HLFDSegmentLib.signals import Signal
from HLFDSegmentLib.volumes import volume_from_node
from HLFDSegmentLib.worker_engine import result_from_dict

_ATTRIBUTE = "HLFD.Result"


def store_result(segmentation_node: slicer.vtkMRMLSegmentationNode, result: SegmentationResult) -> None:
    """Keep the measurements of a run in the node, and so in a saved scene."""
    segmentation_node.SetAttribute(_ATTRIBUTE, json.dumps(result.to_dict()))


def stored_result(segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """Return what ``store_result`` kept; empty where the node is of another origin."""
    values: dict[str, Any] = json.loads(segmentation_node.GetAttribute(_ATTRIBUTE) or "{}")
    return values


def volume_of(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode:
    """Return the CT that the segmentation was made from; raise ``InputError`` when it is no longer in the scene."""
    volume_node = segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
    if volume_node is None:
        raise InputError(f'The CT of "{segmentation_node.GetName()}" is not in the scene.', "Load it again.")
    return volume_node


def export_csv(segmentation_node: slicer.vtkMRMLSegmentationNode, path: Path) -> None:
    """Write structures and lesions as CSV; raises ``OutputError`` when the file cannot be written."""
    source = report_input(segmentation_node)
    try:
        path.write_text(measurements_csv(source), encoding="utf-8")
    except OSError as error:
        raise OutputError(f'"{path}" cannot be written: {error.strerror}.', "Choose another file.") from error


def report_input(segmentation_node: slicer.vtkMRMLSegmentationNode) -> ReportInput:
    """Return all that a report tells, as copies that another thread may use.

    Raises ``InputError`` for a segmentation of another origin or without its CT, ``ModelError`` without its model.
    """
    values = stored_result(segmentation_node)
    if not values:
        raise InputError(f'"{segmentation_node.GetName()}" holds no measurements.', "Segment the CT first.")
    volume_node = volume_of(segmentation_node)
    package = find(f"{values['model']}/{values['model_version']}", verify=False)
    label_map = label_map_from_segmentation(segmentation_node, volume_node, package.labels)
    edited = edited_segments(segmentation_node)
    if edited:
        note = f"Edited after the measurement: {', '.join(edited)}. The pictures show the edited segments."
        values["warnings"] = [*values["warnings"], note]
    return ReportInput(
        name=volume_node.GetName(),
        source=_source(volume_node),
        segmentation=Path(segmentation_node.GetName()),
        volume=volume_from_node(volume_node),
        result=result_from_dict(values, label_map),
        package=package,
    )


def _source(volume_node: slicer.vtkMRMLScalarVolumeNode) -> Path:
    """Return the file of the CT, or its name alone where it has none any more."""
    storage = volume_node.GetStorageNode()
    path = Path((storage.GetFileName() if storage is not None else None) or "")
    return path if path.is_file() else Path(volume_node.GetName().replace(".", "_"))


class ReportExport:
    """Writes one report at a time in a thread; ``poll()`` tells its end: ``finished(path)`` or ``failed(error)``."""

    def __init__(self) -> None:
        self.finished = Signal("path")
        self.failed = Signal("error")
        self._ends: queue.SimpleQueue = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether a report is being written."""
        return self._thread is not None

    def start(self, segmentation_node: slicer.vtkMRMLSegmentationNode, folder: Path) -> None:
        """Begin to write report.html, measurements.csv and pictures; raises as ``report_input`` does."""
        if self.running:
            raise UsageError("A report is still being written.", "Wait for it.")
        source = report_input(segmentation_node)
        self._thread = threading.Thread(target=self._work, args=(source, folder), name="hlfd-report", daemon=True)
        self._thread.start()

    def poll(self) -> None:
        """Emit the end of the work, in the caller's thread."""
        if self._thread is None or self._ends.empty():
            return
        outcome = self._ends.get()
        self._thread.join()
        self._thread = None
        (self.failed if isinstance(outcome, HlfdError) else self.finished).emit(outcome)

    def _work(self, source: ReportInput, folder: Path) -> None:
        try:
            self._ends.put(write_report(source, folder))
        except HlfdError as error:
            self._ends.put(error)
        except Exception as error:  # the button must come back, whatever happened
            logging.getLogger(__name__).exception("The report failed")
            self._ends.put(OutputError(f"The report failed: {type(error).__name__}: {error}.", "See the log."))
