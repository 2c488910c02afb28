"""Importing a data set: first a report of what is wrong with it, then the cases that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
from slicer.i18n import tr as _

from HLFDSegmentUI.dialogs import errors_shown
from HLFDTrainUI.label_table import LabelTable


class ImportSection:
    """Checks and imports a folder through ``logic``; only a folder that was checked can be imported."""

    def __init__(self, ui: Any, logic: Any, busy: Any) -> None:
        self._ui = ui
        self._logic = logic
        self._busy = busy
        self._checked = ""
        self._usable = 0
        ui.importPath.filters = ctk.ctkPathLineEdit.Dirs
        self.values = LabelTable(ui.valueTable, _("Value in the label maps"), self.show)
        ui.importPath.connect("currentPathChanged(QString)", self._on_path)
        ui.checkButton.connect("clicked(bool)", self._on_check)
        ui.importButton.connect("clicked(bool)", self._on_import)
        self._forget()

    def show(self) -> None:
        """Show what can be clicked."""
        ui, idle = self._ui, self._logic.project is not None and not self._logic.task
        ui.checkButton.enabled = idle and bool(ui.importPath.currentPath)
        named = any(self.values.mapping.values())
        ui.importButton.enabled = idle and named and self._checked == ui.importPath.currentPath and self._usable > 0

    def show_report(self, reports: list[dict[str, Any]]) -> None:
        """Show what is wrong with each case, and the values that the label maps hold."""
        self._checked = self._ui.importPath.currentPath
        bad = [report for report in reports if not _usable(report)]
        self._usable = len(reports) - len(bad)
        self._ui.importLabel.text = _("{good} of {all} cases can be used.").format(good=self._usable, all=len(reports))
        lines = []
        for report in reports:
            notes = [finding["message"] for finding in report["findings"]]
            lines.append(f"{report['id']}: " + (" ".join(notes) if notes else _("nothing is wrong")))
        self._ui.importReport.setPlainText("\n".join(lines))
        self._ui.importReport.visible = True
        found = sorted({int(value) for report in reports for value in report.get("label_ml") or {}})
        names = {label.value: label.name for label in self._logic.project.labels}
        self.values.fill([(value, str(value), names.get(value, "")) for value in found], self._logic.label_names)
        self.show()

    def show_imported(self, result: dict[str, Any]) -> None:
        """Say how many cases came, and why the others did not."""
        added, refused = result["added"], result["refused"]
        self._ui.importLabel.text = _("{count} cases were added.").format(count=len(added))
        lines = [f"{case}: {reason}" for case, reason in refused.items()]
        self._ui.importReport.setPlainText("\n".join(lines) or _("No case was refused."))
        self._checked = ""
        self.show()

    def _forget(self) -> None:
        self._checked, self._usable = "", 0
        self._ui.importLabel.text = _("The folder is checked first; nothing is copied before you have seen the report.")
        self._ui.importReport.visible = False
        self.values.fill([], ())
        self.show()

    def _on_path(self, path: str) -> None:
        self._forget()

    def _on_check(self, checked: bool = False) -> None:
        with errors_shown(_("The folder could not be checked.")):
            self._logic.check_folder(Path(self._ui.importPath.currentPath))
            self._busy.begin(_("Checking {path}...").format(path=self._ui.importPath.currentPath))

    def _on_import(self, checked: bool = False) -> None:
        with errors_shown(_("The cases could not be imported.")):
            self._logic.import_folder(Path(self._ui.importPath.currentPath), self.values.mapping)
            self._busy.begin(_("Importing {path}...").format(path=self._ui.importPath.currentPath))


def _usable(report: dict[str, Any]) -> bool:
    """Return whether a case can be imported: unknown values alone do no harm, the table of values names them."""
    errors = [finding for finding in report["findings"] if finding["level"] == "error"]
    return all(finding["code"] == "unknown_value" for finding in errors)
