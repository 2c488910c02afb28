"""Results: tables of lesions and structures, the views, and what goes out of Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.errors import UsageError
from hlfd.words import left_out
from HLFDSegmentLib.display import jump_to, set_opacity, show_surfaces
from HLFDSegmentLib.lesion_rows import HEADERS, Row, lesion_rows, structure_rows
from HLFDSegmentLib.report_export import ReportExport, export_csv, stored_result, volume_of
from HLFDSegmentUI.dialogs import errors_shown, show_error
from HLFDSegmentUI.tables import fit_height

_TEXT_COLUMNS = 2
_CONFIDENCE = len(HEADERS) - 1
_HEADER_PIXELS = 38  # of two lines


class ResultsSection:
    """Shows what is known about the output segmentation, from the scene alone, so also after a scene was loaded."""

    def __init__(self, ui: Any, busy: Any) -> None:
        self._ui = ui
        self._busy = busy
        self._rows: list[Row] = []
        self._node: Any = None
        self.export = ReportExport()
        self.export.finished.connect(self._on_report)
        self.export.failed.connect(self._on_report_failed)
        table = ui.lesionTable
        table.setColumnCount(len(HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in HEADERS])
        table.verticalHeader().setVisible(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setMinimumHeight(_HEADER_PIXELS)
        table.connect("cellClicked(int,int)", self._on_cell)
        ui.opacitySlider.connect("valueChanged(double)", self._on_opacity)
        ui.surfacesBox.connect("toggled(bool)", self._on_surfaces)
        ui.editorButton.connect("clicked(bool)", self._on_editor)
        ui.trainingCaseButton.connect("clicked(bool)", self._on_training_case)
        ui.reportButton.connect("clicked(bool)", self._on_export_report)
        ui.csvButton.connect("clicked(bool)", self._on_export_csv)
        self.show(None)

    def show(self, segmentation_node: Any) -> None:
        """Show the tables of a segmentation node, or that there is nothing yet."""
        self._node = segmentation_node
        lesions = lesion_rows(slicer.mrmlScene, segmentation_node)
        structures = structure_rows(slicer.mrmlScene, segmentation_node)
        self._rows = [*lesions, *structures]
        self._fill()
        self._ui.summaryLabel.text = self._summary(len(lesions), bool(structures))
        has_result = segmentation_node is not None and bool(stored_result(segmentation_node))
        self._ui.editorButton.enabled = self._ui.trainingCaseButton.enabled = segmentation_node is not None
        self._ui.reportButton.enabled = self._ui.csvButton.enabled = has_result
        if segmentation_node is not None:
            set_opacity(segmentation_node, self._ui.opacitySlider.value)
            show_surfaces(segmentation_node, self._ui.surfacesBox.checked)

    def _summary(self, lesions: int, known: bool) -> str:
        if not known:
            return _("Nothing segmented yet.")
        result = stored_result(self._node)
        found = _("Lesions found: {count}.").format(count=lesions)
        remedy = _('To see them, check "{box}" and segment again.').format(box=self._ui.doubtfulBox.text)
        notes = (left_out(result.get("left_out_ml", ()), remedy), *result.get("warnings", ()))
        return "\n".join(filter(None, (found, *notes)))

    def _fill(self) -> None:
        table = self._ui.lesionTable
        table.setRowCount(len(self._rows))
        table.visible = bool(self._rows)
        table.setColumnHidden(_CONFIDENCE, all(row.cells[_CONFIDENCE] in ("", "-") for row in self._rows))
        fit_height(table, len(self._rows) + 1)
        for index, row in enumerate(self._rows):
            for column, text in enumerate(row.cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(row.hint)
                if column >= _TEXT_COLUMNS:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(index, column, item)

    def _on_cell(self, row: int, column: int) -> None:
        position = self._rows[row].position if 0 <= row < len(self._rows) else None
        if position is not None:
            jump_to(slicer.mrmlScene, position)

    def _on_opacity(self, value: float) -> None:
        set_opacity(self._node, value)

    def _on_surfaces(self, shown: bool) -> None:
        show_surfaces(self._node, shown)

    def _on_editor(self, checked: bool = False) -> None:
        with errors_shown(_("The Segment Editor could not be opened.")):
            slicer.util.selectModule("SegmentEditor")
            editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
            editor.setSegmentationNode(self._node)
            editor.setSourceVolumeNode(volume_of(self._node))

    def _on_training_case(self, checked: bool = False) -> None:
        with errors_shown(_("The module HLFD Train could not be opened.")):
            if not hasattr(slicer.modules, "hlfdtrain"):
                raise UsageError(_("The module HLFD Train is not loaded."), _("Install the whole extension HLFD."))
            slicer.util.selectModule("HLFDTrain")
            panel = slicer.modules.hlfdtrain.widgetRepresentation().self().panel
            panel.offer(volume_of(self._node), self._node)

    def _on_export_csv(self, checked: bool = False) -> None:
        name = f"{self._node.GetName()}.csv"
        path = qt.QFileDialog.getSaveFileName(None, _("Export the measurements"), name, "CSV (*.csv)")
        if path:
            with errors_shown(_("The measurements could not be written.")):
                export_csv(self._node, Path(path))
                self._busy.say(_("Measurements written to {path}.").format(path=path))

    def _on_export_report(self, checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Export the report into a folder"))
        if folder:
            with errors_shown(_("The report could not be written.")):
                self.export.start(self._node, Path(folder))
                self._ui.reportButton.enabled = False
                self._busy.begin(_("Writing the report..."))

    def _on_report(self, path: Path) -> None:
        self._ui.reportButton.enabled = True
        self._busy.end(_("Report written to {path}.").format(path=path))
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _on_report_failed(self, error: Any) -> None:
        self._ui.reportButton.enabled = True
        self._busy.end(error.message)
        show_error(error)
