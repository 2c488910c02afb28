"""A table that says which label each segment, or each value of a label map, becomes; a person corrects it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from HLFDSegmentUI.tables import fit_height

_ROW_PIXELS = 26


class LabelTable:
    """Rows of a name and a selector of labels; ``on_change`` hears of corrections."""

    def __init__(self, table: Any, caption: str, on_change: Callable[[], None]) -> None:
        self._table = table
        self._on_change = on_change
        self._rows: list[tuple[Any, str, str]] = []
        self._keys: list[Any] = []
        self._labels: list[str] = []
        self._selectors: list[Any] = []
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([caption, _("Label")])
        table.verticalHeader().setVisible(False)
        for column in range(2):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.Stretch)
        table.visible = False

    @property
    def mapping(self) -> dict[Any, str]:
        """The label of each key, "" for one that is left out."""
        indices = [selector.currentIndex for selector in self._selectors]
        return {key: self._labels[index] for key, index in zip(self._keys, indices)}

    def fill(self, rows: Sequence[tuple[Any, str, str]], labels: Sequence[str]) -> None:
        """Show rows of key, name and proposed label; what a person chose for a key that is still there stays."""
        if [*rows] == self._rows and [*labels] == self._labels[1:]:
            return  # a selector may be open
        chosen = self.mapping if [*labels] == self._labels[1:] else {}
        self._rows = [*rows]
        self._keys, self._labels, self._selectors = [key for key, _name, _label in rows], ["", *labels], []
        self._table.setRowCount(0)
        self._table.setRowCount(len(rows))
        for index, (key, name, proposed) in enumerate(rows):
            self._table.setItem(index, 0, qt.QTableWidgetItem(name))
            selector = qt.QComboBox()
            for caption in (_("not used"), *labels):
                selector.addItem(caption)
            label = chosen.get(key, proposed)
            selector.setCurrentIndex(self._labels.index(label) if label in self._labels else 0)
            selector.connect("currentIndexChanged(int)", self._on_index)
            self._table.setCellWidget(index, 1, selector)
            self._selectors.append(selector)
        fit_height(self._table, len(rows))
        self._table.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        self._table.visible = bool(rows)

    def _on_index(self, index: int) -> None:
        self._on_change()
