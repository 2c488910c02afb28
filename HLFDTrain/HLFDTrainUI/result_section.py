"""The outcome: before and after on cases that were not learned from, outlines, and what becomes of the new model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.errors import HlfdError
from hlfd.runs import Run, State
from HLFDSegmentUI.dialogs import confirmed, errors_shown, show_error
from HLFDSegmentUI.tables import fit_height
from HLFDTrainLib.result_logic import ResultLogic
from HLFDTrainUI.choices import Choice
from HLFDTrainUI.result_rows import HEADERS, result_rows, result_sentences

_HEADER_PIXELS = 38


class ResultSection:
    """Shows the trainings of the project and the outcome of the chosen one; ``panel`` has project, timers and log."""

    def __init__(self, ui: Any, training: Any, panel: Any) -> None:
        self._ui = ui
        self._training = training
        self._panel = panel
        self._runs: list[Run] = []
        self._cases: list[str] = []
        self._result: dict[str, Any] = {}
        self.logic = ResultLogic(slicer.mrmlScene, panel.jobs)
        self.logic.shown.connect(self._on_shown)
        self.logic.registered.connect(self._on_registered)
        self.logic.exported.connect(self._on_exported)
        self.logic.failed.connect(self._on_failed)
        self._run = Choice(ui.runSelector, [])
        table = ui.resultTable
        table.setColumnCount(len(HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in HEADERS])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setMinimumHeight(_HEADER_PIXELS)
        table.connect("cellClicked(int,int)", self._on_cell)
        ui.runSelector.connect("currentIndexChanged(int)", self._on_choice)
        ui.removeRunButton.connect("clicked(bool)", self._on_remove)
        ui.overlayButton.connect("clicked(bool)", self._on_overlay)
        ui.leaveOverlayButton.connect("clicked(bool)", self._on_leave)
        ui.useButton.connect("clicked(bool)", self._on_use)
        ui.exportZipButton.connect("clicked(bool)", self._on_zip)
        ui.exportBundleButton.connect("clicked(bool)", self._on_bundle)
        ui.leaveOverlayButton.enabled = False
        self._show()

    @property
    def chosen(self) -> Run | None:
        """The training whose outcome is shown."""
        return next((run for run in self._runs if run.id == self._run.value), None)

    def refresh(self) -> None:
        """List the trainings of the project as they are now, the latest first; the one that is followed is shown."""
        project = self._panel.cases.project
        self._runs = self._training.runs(project.folder)[::-1] if project is not None else []
        self._run.fill([(run.id, f"{run.id}: {_(run.state.value)}") for run in self._runs])
        if self._training.run is not None:
            self._ui.runSelector.blockSignals(True)
            self._run.select(self._training.run.id)
            self._ui.runSelector.blockSignals(False)
        self._show()

    def _on_choice(self, index: int) -> None:
        run, followed = self.chosen, self._training.state
        with errors_shown(_("The training could not be shown.")):
            if run is not None and not (followed is not None and followed.active):
                self._panel.run.clear()
                self._training.attach(run)
            self._show()

    def _show(self) -> None:
        ui, run = self._ui, self.chosen
        state = run.state if run is not None else None
        self._result = run.result() if run is not None and state is State.FINISHED else {}
        done = bool(self._result)
        if run is None:
            ui.resultLabel.text = _("No training yet.")
        elif not done:
            ui.resultLabel.text = _("{run} has no result: it is {state}.").format(run=run.id, state=_(state.value))
        else:
            ui.resultLabel.text = "\n".join(result_sentences(self._result))
        worse = self._result.get("worse", ())
        ui.warningLabel.text = "\n".join([_("The new version is worse here:"), *worse]) if worse else ""
        ui.warningLabel.visible = bool(worse)
        ui.removeRunButton.enabled = run is not None and not state.active
        for button in (ui.useButton, ui.exportZipButton, ui.exportBundleButton):
            button.enabled = done and not self.logic.busy and bool(self._result.get("package"))
        self._fill()

    def _fill(self) -> None:
        project, table = self._panel.cases.project, self._ui.resultTable
        names = {case.id: case.caption for case in project.cases} if project is not None else {}
        rows = result_rows(self._result)
        self._cases = [case for case, _cells in rows]
        table.setRowCount(len(rows))
        for index, (case, cells) in enumerate(rows):
            for column, text in enumerate((names.get(case, case) or _("all, mean"), *cells)):
                item = qt.QTableWidgetItem(text)
                if column > 1:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(index, column, item)
        fit_height(table, len(rows) + 1)
        table.visible = bool(rows)
        self._ui.overlayButton.enabled = bool(self._result.get("predictions")) and not self.logic.busy

    def _on_cell(self, row: int, column: int) -> None:
        if 0 <= row < len(self._cases) and self._cases[row] in self._result.get("predictions", {}):
            self._show_case(self._cases[row])

    def _on_overlay(self, checked: bool = False) -> None:
        table, known = self._ui.resultTable, list(self._result["predictions"])
        row = table.currentRow()
        case = self._cases[row] if 0 <= row < len(self._cases) else ""
        self._show_case(case if case in known else known[0])

    def _show_case(self, case: str) -> None:
        if self.logic.busy:
            return
        with errors_shown(_("The outlines could not be shown.")):
            self._ui.liveBox.checked = False
            self.logic.show_case(self._result, case)
            self.logic.table(self._result)
            self._panel.begin(_("Showing {case}").format(case=case))

    def _on_shown(self, case: str) -> None:
        self._ui.leaveOverlayButton.enabled = True
        self._show()

    def _on_leave(self, checked: bool = False) -> None:
        self.logic.leave()
        self._ui.leaveOverlayButton.enabled = False

    def _on_remove(self, checked: bool = False) -> None:
        run = self.chosen
        if run is not None and confirmed(_("Delete the files of {run}?").format(run=run.id)):
            with errors_shown(_("The training could not be removed.")):
                if self._training.run is not None and self._training.run.folder == run.folder:
                    self._training.detach()
                    self._panel.run.clear()
                run.remove()
                self.refresh()
                self._panel.show()

    def _on_use(self, checked: bool = False) -> None:
        worse = self._result.get("worse", ())
        question = _("The new version is worse in some places:\n{places}\nUse it all the same?")
        if worse and not confirmed(question.format(places="\n".join(worse))):
            return
        with errors_shown(_("The model could not be added.")):
            self.logic.register(self.chosen)
            self._panel.begin(_("Adding the model"))

    def _on_zip(self, checked: bool = False) -> None:
        name = f"{self._result['name']}-{self._result['version']}.zip"
        path = qt.QFileDialog.getSaveFileName(None, _("Export the new version"), name, "Zip (*.zip)")
        if path:
            self._export("zip", Path(path))

    def _on_bundle(self, checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Export a MONAI bundle into a folder"))
        if folder:
            self._export("bundle", Path(folder) / f"{self._result['name']}-{self._result['version']}")

    def _export(self, target: str, out: Path) -> None:
        with errors_shown(_("The new version could not be exported.")):
            self.logic.export(self.chosen, target, out)
            self._panel.begin(_("Exporting to {path}...").format(path=out))
            self._show()

    def _on_registered(self, package: Any) -> None:
        key = f"{package.name}/{package.version}"
        text = _("{key} is among your models now, and HLFD Segment uses it.").format(key=key)
        slicer.modules.hlfdsegment.widgetRepresentation().self().panel.use_model(key)
        self._end(text)
        self._panel.settings.refresh()

    def _on_exported(self, path: Path) -> None:
        self._end(_("Exported to {path}.").format(path=path))

    def _end(self, text: str) -> None:
        self._panel.say(text)
        self._show()
        self._ui.resultLabel.text += f"\n{text}"

    def _on_failed(self, error: HlfdError) -> None:
        self._panel.say(str(error))
        self._show()
        show_error(error)
