"""Many CTs: a folder in, label maps and a table out."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from hlfd.config import SegmentSettings
from hlfd.events import Event, Progress, Stage, Warn
from HLFDSegmentUI.dialogs import show_error
from HLFDSegmentUI.tables import fit_height

_COLUMNS = 6  # of the many columns of results.csv; the file has all


class BatchSection:
    """Hands a folder to the worker; ``settings`` gives the model and device chosen above, ``busy`` the common timer."""

    def __init__(self, ui: Any, jobs: Any, settings: Callable[[], SegmentSettings | None], busy: Any) -> None:
        self._ui = ui
        self._jobs = jobs
        self._settings = settings
        self._busy = busy
        self._job: Any = None
        for selector in (ui.batchInput, ui.batchOutput):
            selector.filters = ctk.ctkPathLineEdit.Dirs
        ui.batchButton.connect("clicked(bool)", self._on_run)
        ui.batchCancelButton.connect("clicked(bool)", self._on_cancel)
        self._show_running(False)
        ui.batchTable.visible = False

    @property
    def running(self) -> bool:
        """Whether a folder is being worked on."""
        return self._job is not None

    def poll(self) -> None:
        """Show what the worker reported; called by the panel's timer after ``jobs.poll()``."""
        job = self._job
        if job is None:
            return
        for event in job.take_events():
            self._on_event(event)
        if job.finished:
            self._job = None
            self._show_running(False)
            self._conclude(job)

    def _on_run(self, checked: bool = False) -> None:
        settings = self._settings()
        if settings is None or self.running:
            return
        folders = {"source": self._ui.batchInput.currentPath, "target": self._ui.batchOutput.currentPath}
        self._job = self._jobs().submit("batch", {"settings": asdict(settings), **folders})
        self._ui.batchTable.visible = False
        self._ui.batchLabel.text = _("Starting...")
        self._show_running(True)
        self._busy.begin(_("Segmenting the folder {folder}...").format(folder=folders["source"]))

    def _on_cancel(self, checked: bool = False) -> None:
        if self._job is not None:
            self._ui.batchLabel.text = _("Cancelling...")
            self._job.cancel()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._ui.batchLabel.text = event.name
        elif isinstance(event, Progress) and event.total:
            self._ui.batchBar.setRange(0, 100)
            self._ui.batchBar.setValue(int(100 * event.done / event.total))
        elif isinstance(event, Warn):
            self._busy.say(event.message)

    def _conclude(self, job: Any) -> None:
        if job.error is not None:
            text = job.error.message
            show_error(job.error)
        elif not job.result:
            text = _("Cancelled. The finished cases are in the results folder.")
        else:
            cases, failed = job.result["cases"], job.result["failed"]
            done = _("{done} of {all} cases done.").format(done=len(cases) - len(failed), all=len(cases))
            text = f"{done} " + _("Table: {path}").format(path=job.result["csv"])
            self._show_table(Path(job.result["csv"]))
        self._ui.batchLabel.text = text
        self._busy.end(text)
        job.release()

    def _show_table(self, path: Path) -> None:
        """Show the first columns of the table; why a case failed is told where the mouse points."""
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = [name for name in rows[0] if name != "message"][:_COLUMNS]
        table = self._ui.batchTable
        table.setColumnCount(len(columns))
        table.setHorizontalHeaderLabels(columns)
        table.setRowCount(len(rows))
        table.verticalHeader().setVisible(False)
        for index, row in enumerate(rows):
            for column, name in enumerate(columns):
                item = qt.QTableWidgetItem(row[name])
                item.setToolTip(row["message"])
                table.setItem(index, column, item)
        table.resizeColumnsToContents()
        fit_height(table, len(rows))
        table.visible = True

    def _show_running(self, running: bool) -> None:
        self._ui.batchButton.enabled = not running
        self._ui.batchBar.visible = self._ui.batchCancelButton.visible = running
        self._ui.batchBar.setRange(0, 0 if running else 100)
