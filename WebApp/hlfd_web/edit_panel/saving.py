"""Keeping a correction: the segments as they are now, written below ``results`` of the data root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from hlfd.errors import HlfdError, UsageError
from hlfd.io import write_label_map
from hlfd.jobs.courier import Courier
from hlfd.models.registry import find
from hlfd_web.results_store import LABELS
from HLFDSegmentLib.report_export import stored_result
from HLFDSegmentLib.segmentations import label_map_from_segmentation
from HLFDTrainLib.steps import Steps, Task, in_thread

if TYPE_CHECKING:
    from hlfd_web.app import Context

_CLOSE_S = 5.0


class Saving:
    """Writes one correction at a time, in a thread; the page is told its name in the data root."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._courier = Courier()
        self._steps = Steps(self._on_end)

    @property
    def busy(self) -> bool:
        """Whether a correction is being written."""
        return bool(self._steps.name)

    def start(self, node: slicer.vtkMRMLSegmentationNode | None, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
        """Begin to write; raises ``UsageError`` without a segmentation, or while another one is being written."""
        if node is None or volume is None:
            raise UsageError("There is nothing to save.", "Segment a CT, or draw on it, first.")
        self._steps.start("save", self._writing(node, volume))

    def poll(self) -> None:
        """Go on with the work."""
        self._steps.poll()

    def close(self) -> None:
        """Finish what is being written, when the session ends."""
        self._steps.wait(_CLOSE_S)
        self._courier.close(_CLOSE_S)

    def _writing(self, node: Any, volume: Any) -> Task:
        values = stored_result(node)
        labels = find(f"{values['model']}/{values['model_version']}", verify=False).labels if values else ()
        label_map = label_map_from_segmentation(node, volume, labels)
        title = f"{volume.GetName()}_corrected"

        def write() -> Path:
            folder = self._context.results.new_folder(title)
            write_label_map(label_map, folder / LABELS)
            return folder / LABELS

        return (yield from in_thread(self._courier, write))

    def _on_end(self, _name: str, path: Path | None, error: HlfdError | None) -> None:
        if path is not None:
            self._context.notices.show(f"Saved as {self._context.data_root.name_of(path)}.", "success")
        elif error is not None:
            self._context.notices.show(error)
