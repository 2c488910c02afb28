"""The result that is shown: its tables, its display, its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from hlfd.errors import HlfdError, UsageError
from hlfd.io import write_label_map
from hlfd.jobs.courier import Courier
from hlfd.models.registry import find
from hlfd.words import left_out
from hlfd_web.downloads import download_folder, offer
from hlfd_web.open_panel.panel import source_of
from hlfd_web.segment_panel.words import MARK_DOUBTFUL
from HLFDSegmentLib.display import set_opacity, show_surfaces
from HLFDSegmentLib.edits import edited_segments, remember_segments
from HLFDSegmentLib.lesion_rows import Row, lesion_rows, structure_rows
from HLFDSegmentLib.model_catalogue import DEMONSTRATION
from HLFDSegmentLib.report_export import ReportExport, export_csv, store_result, stored_result, volume_of
from HLFDSegmentLib.segment_logic import Segmented
from HLFDSegmentLib.segmentations import label_map_from_segmentation
from HLFDTrainLib.steps import Steps, Task, in_thread

if TYPE_CHECKING:
    from hlfd_web.app import Context

_CLOSE_S = 5.0
_FILL = 0.5  # as in Slicer
_MARK_THEM = f'To see them, check "{MARK_DOUBTFUL}" and segment again.'


class Results:
    """Keeps the state ``seg_...`` of the results in step with the segmentation that is shown."""

    def __init__(self, context: Context) -> None:
        self._context, self._state, self._scene = context, context.state, context.scene
        self._rows: list[Row] = []
        self._courier = Courier()
        self._saving = Steps(self._on_saved)
        self._queue: list[Task] = []
        self._folders: dict[str, Path] = {}
        self.export = ReportExport()
        self.export.finished.connect(self._on_report)
        self.export.failed.connect(self._on_report_failed)
        self._state.update(
            {
                **{"seg_lesions": [], "seg_structures": [], "seg_segments": [], "seg_row": -1, "seg_facts": []},
                **{"seg_opacity": 1.0, "seg_outline": False, "seg_surfaces": True, "seg_warnings": []},
                **{"seg_has_result": False, "seg_saved": "", "seg_report_busy": False, "seg_edited": []},
            }
        )
        for key in ("seg_opacity", "seg_outline", "seg_surfaces"):
            self._state.change(key)(lambda **_: self._apply_display())
        context.every(self._poll)

    def is_own(self, node: Any) -> bool:
        """Whether a run made the segmentation, so that the next one may replace its segments."""
        return node is not None and bool(stored_result(node))

    def take(self, segmented: Segmented, new: bool = False) -> None:
        """Show a result; a new one is saved in the data root."""
        node = segmented.segmentation_node
        store_result(node, segmented.result)
        remember_segments(node)
        self._state.seg_saved = ""
        if new:
            self._save(segmented)
        self._context.show_segmentation(node)
        self._context.views.fit_3d()

    def show(self) -> None:
        """Show the tables of the segmentation, from the scene alone."""
        node = self._context.segmentation_node
        result = stored_result(node) if node is not None else {}
        self._rows = lesion_rows(self._scene, node)
        self._state.update(
            {
                "seg_lesions": [{"cells": _cells(row, self._rows), "hint": row.hint} for row in self._rows],
                "seg_structures": [list(row.cells) for row in structure_rows(self._scene, node)],
                "seg_segments": _segments(node),
                "seg_row": -1,
                "seg_warnings": list(result.get("warnings", ())),
                "seg_facts": _facts(result),
                "seg_has_result": bool(result),
                "seg_edited": edited_segments(node) if result else [],
                "view_notice": DEMONSTRATION if node is not None else "",
            }
        )
        self._apply_display()

    def go_to(self, index: int) -> None:
        """Move all views to the lesion of a row."""
        if 0 <= index < len(self._rows) and self._rows[index].position is not None:
            self._context.views.go_to(self._rows[index].position)
            self._state.seg_row = index
            self._context.notices.speak(f"Showing {' '.join(self._rows[index].cells[:2])}")

    def set_segment(self, segment_id: str, shown: bool) -> None:
        """Show or hide one structure."""
        node = self._context.segmentation_node
        if node is not None and node.GetSegmentation().GetSegment(segment_id) is not None:
            node.GetDisplayNode().SetSegmentVisibility(segment_id, bool(shown))
            self._state.seg_segments = _segments(node)

    def download(self, what: str) -> None:
        """Give the page the labels, the report or the measurements as a file."""
        node = self._context.segmentation_node
        with self._context.notices.shown():
            if node is None:
                raise UsageError("There is nothing to download yet.", "Segment the CT first.")
            folder, name = download_folder(self._context), node.GetName().replace("/", "_")
            if what == "report":
                self.export.start(node, folder / f"{name} report")
                self._state.seg_report_busy = True
            elif what == "csv":
                export_csv(node, folder / f"{name}.csv")
                offer(self._context, folder / f"{name}.csv")
            else:
                self._begin(self._writing(node, folder / f"{name}.seg.nrrd"))

    def close(self) -> None:
        """Finish what is being written, when the session ends."""
        while self._saving.name or self._queue:
            self._poll()
            if not self._saving.wait(_CLOSE_S):
                break
        self._courier.close(_CLOSE_S)

    def _apply_display(self) -> None:
        node = self._context.segmentation_node
        if node is None:
            return
        opacity = self._state.seg_opacity
        set_opacity(node, min(max(opacity, 0.0), 1.0) if isinstance(opacity, (int, float)) else 1.0)
        node.GetDisplayNode().SetOpacity2DFill(0.0 if self._state.seg_outline else _FILL)
        show_surfaces(node, bool(self._state.seg_surfaces))

    def _poll(self) -> None:
        self.export.poll()
        if not self._saving.name and self._queue:
            self._saving.start("save", self._queue.pop(0))
        self._saving.poll()

    def _begin(self, task: Task) -> None:
        self._queue.append(task)

    def _save(self, segmented: Segmented) -> None:
        node, volume = segmented.segmentation_node, self._context.volume_node
        if volume is not None:
            self._begin(self._storing(node, segmented, volume.GetName(), *source_of(volume)))

    def _storing(self, node: Any, segmented: Segmented, title: str, source: str, series: str) -> Task:
        store, result = self._context.results, segmented.result

        def write() -> Path:
            folder = store.new_folder(title)
            store.save(folder, result, title, source, series)
            return folder

        folder = yield from in_thread(self._courier, write)
        self._folders[node.GetID()] = folder
        if node is self._context.segmentation_node:
            self._state.seg_saved = self._context.data_root.name_of(folder)

    def _writing(self, node: Any, path: Path) -> Task:
        """Write the segments as they are now, edits included."""
        values = stored_result(node)
        labels = find(f"{values['model']}/{values['model_version']}", verify=False).labels if values else ()
        label_map = label_map_from_segmentation(node, volume_of(node), labels)
        yield from in_thread(self._courier, lambda: write_label_map(label_map, path))
        offer(self._context, path)

    def _on_saved(self, _name: str, _result: Any, error: HlfdError | None) -> None:
        if error is not None:
            self._context.notices.show(error)

    def _on_report(self, path: Path) -> None:
        self._state.seg_report_busy = False
        target = download_folder(self._context) / f"{path.parent.name}.html"
        shutil.copyfile(path, target)
        offer(self._context, target)

    def _on_report_failed(self, error: HlfdError) -> None:
        self._state.seg_report_busy = False
        self._context.notices.show(error)


def _cells(row: Row, rows: list[Row]) -> list[str]:
    """Return the cells of a lesion, without the confidence where the model gives none."""
    return list(row.cells if any(other.cells[-1] != "-" for other in rows) else row.cells[:-1])


def _segments(node: slicer.vtkMRMLSegmentationNode | None) -> list[dict[str, Any]]:
    if node is None:
        return []
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    rows = []
    for index in range(segmentation.GetNumberOfSegments()):
        key = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(key)
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        shown = bool(display.GetSegmentVisibility(key)) if display is not None else True
        rows.append({"id": key, "name": segment.GetName(), "color": f"rgb({red},{green},{blue})", "shown": shown})
    return rows


def _facts(result: dict[str, Any]) -> list[str]:
    """Return where the numbers come from, in lines."""
    if not result:
        return []
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["timing"].items() if name != "total")
    return [
        f"Model {result['model']} {result['model_version']}, on {result['device']} ({result['backend']})",
        f"{result['timing'].get('total', 0.0):.1f} s in all: {stages}",
        *filter(None, [left_out(result.get("left_out_ml", ()), _MARK_THEM)]),
    ]
