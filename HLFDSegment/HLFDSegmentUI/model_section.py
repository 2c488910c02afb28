"""Choosing a model: bundled and own ones, import from a file, removal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from HLFDSegmentLib.model_catalogue import (
    ModelChoice,
    find_choice,
    has_own,
    import_model,
    key_of_source,
    model_choices,
    own_folder,
    remove_model,
)
from HLFDSegmentUI.dialogs import confirmed, errors_shown


class ModelSection:
    """Keeps the selector, the notice and the caption of the button in step; ``on_choice`` hears of every change."""

    def __init__(self, ui: Any, on_choice: Callable[[str], None]) -> None:
        self._ui = ui
        self._on_choice = on_choice
        self._choices: list[ModelChoice] = []
        self._wanted = ""
        ui.modelSelector.connect("currentIndexChanged(int)", self._on_index)
        ui.importButton.connect("clicked(bool)", self._on_import)
        ui.folderButton.connect("clicked(bool)", self._on_open_folder)
        ui.removeButton.connect("clicked(bool)", self._on_remove)
        self.refresh()

    @property
    def choice(self) -> ModelChoice | None:
        """The chosen model, None when none is installed."""
        index = self._ui.modelSelector.currentIndex
        return self._choices[index] if 0 <= index < len(self._choices) else None

    def select(self, key: str) -> None:
        """Choose the model ``name/version`` or ``name``; one that is not installed leaves the nearest one chosen."""
        self._wanted = key
        found = find_choice(self._choices, key)
        if found is not None:
            self._ui.modelSelector.setCurrentIndex(self._choices.index(found))
        self._show()

    def refresh(self) -> None:
        """List what is installed now, keeping the choice."""
        selector = self._ui.modelSelector
        selector.blockSignals(True)
        self._choices = model_choices()
        selector.clear()
        for choice in self._choices:
            selector.addItem(choice.caption)
        selector.blockSignals(False)
        self.select(self._wanted)

    def _on_index(self, index: int) -> None:
        choice = self.choice
        self._show()
        if choice is not None:
            self._wanted = choice.key
            self._on_choice(choice.key)

    def _show(self) -> None:
        choice, ui = self.choice, self._ui
        usable = choice is not None and not choice.problem
        ui.removeButton.enabled = choice is not None and not choice.bundled
        ui.runButton.text = _("Segment {task}").format(task=choice.task) if usable else _("Segment")
        notice = choice.notice if choice is not None else _("No model is installed. Import one from a file.")
        ui.noticeLabel.text = notice
        ui.noticeLabel.visible = bool(notice)

    def _on_import(self, checked: bool = False) -> None:
        filters = _("Model packages") + " (*.zip model.json)"
        path = qt.QFileDialog.getOpenFileName(None, _("Import a model"), "", filters)
        if not path:
            return
        source = Path(path).parent if Path(path).name == "model.json" else Path(path)
        with errors_shown(_("The model could not be imported.")):
            key = key_of_source(source)
            known = has_own(key)
            if known and not confirmed(_("Replace your model {key} by the one in the file?").format(key=key)):
                return
            self._wanted = import_model(source, overwrite=known)
            self.refresh()
            self._on_choice(self._wanted)

    def _on_open_folder(self, checked: bool = False) -> None:
        with errors_shown(_("The folder of models could not be opened.")):
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(own_folder())))

    def _on_remove(self, checked: bool = False) -> None:
        choice = self.choice
        if choice is None or not confirmed(_("Delete the model {key} from disk?").format(key=choice.key)):
            return
        with errors_shown(_("The model could not be removed.")):
            remove_model(choice)
            self.refresh()
            if self.choice is not None:
                self._on_choice(self.choice.key)
