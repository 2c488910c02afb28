"""Which case to label next: the ones that the model is least sure of come first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from hlfd.words import number
from HLFDSegmentUI.dialogs import errors_shown
from HLFDSegmentUI.tables import fit_height

_HEADERS = ("CT", "Unsure", "Disagreement", "Note")


class SuggestSection:
    """Orders the CTs of a folder through ``logic``; ``model`` gives the student, ``load`` puts a CT into the scene."""

    def __init__(self, ui: Any, logic: Any, busy: Any, model: Callable[[], str], load: Callable[[Path], None]) -> None:
        self._ui = ui
        self._logic = logic
        self._busy = busy
        self._model = model
        self._load = load
        self._rows: list[dict[str, Any]] = []
        ui.suggestPath.filters = ctk.ctkPathLineEdit.Dirs
        table = ui.suggestTable
        table.setColumnCount(len(_HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in _HEADERS])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.connect("cellDoubleClicked(int,int)", self._on_cell)
        ui.suggestPath.connect("currentPathChanged(QString)", self._on_path)
        ui.suggestButton.connect("clicked(bool)", self._on_suggest)
        ui.suggestTable.visible = False
        self.show()

    def show(self) -> None:
        """Show what can be clicked."""
        idle = self._logic.project is not None and not self._logic.task
        self._ui.suggestButton.enabled = idle and bool(self._ui.suggestPath.currentPath)

    def show_rows(self, rows: list[dict[str, Any]]) -> None:
        """List the CTs, the best to label first."""
        self._rows = rows
        table = self._ui.suggestTable
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            cells = (row["name"], number(row["entropy"], 3), number(row.get("disagreement"), 3), row.get("note") or "")
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(str(row["path"]))
                if column in (1, 2):
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(index, column, item)
        fit_height(table, len(rows))
        table.visible = bool(rows)
        self._ui.suggestLabel.text = (
            _("{count} CTs, the one to label first on top. Double-click loads it.").format(count=len(rows))
            if rows
            else _("The folder holds no CT that is not a case already.")
        )

    def _on_path(self, path: str) -> None:
        self.show()

    def _on_suggest(self, checked: bool = False) -> None:
        with errors_shown(_("The CTs could not be ordered.")):
            folder = Path(self._ui.suggestPath.currentPath)
            self._logic.suggest(folder, self._model(), self._ui.suggestTeacher.currentPath)
            self._busy.begin(_("Looking at {path}...").format(path=folder))

    def _on_cell(self, row: int, column: int) -> None:
        if 0 <= row < len(self._rows):
            with errors_shown(_("The CT could not be loaded.")):
                self._load(Path(self._rows[row]["path"]))
