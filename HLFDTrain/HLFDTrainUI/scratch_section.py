"""Distilling a student from scratch: the steps of a recipe on a data set, here or as a command for a cluster."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.errors import ConfigError, UsageError
from hlfd.models.resources import find_recipe, shipped_recipes
from hlfd.runs import DistilSettings, State, command
from HLFDSegmentUI.dialogs import errors_shown
from HLFDSegmentUI.tables import fit_height

STEPS = (
    ("prepare", "Check all cases, bring them to the working grids"),
    ("locator", "Train the network that finds the organ"),
    ("teacher", "Train the large network, where the recipe brings none"),
    ("cache", "Compute what the teacher says, once"),
    ("distil", "Train the student, guided by it"),
    ("evaluate", "Score it on cases that were not learned from"),
    ("package", "Write the model package"),
)
_HEADERS = ("Step", "Does", "State")


class ScratchSection:
    """Starts steps through ``training``; ``panel`` has project, timers and log."""

    def __init__(self, ui: Any, training: Any, panel: Any) -> None:
        self._ui = ui
        self._training = training
        self._panel = panel
        table = ui.stepTable
        table.setColumnCount(len(_HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in _HEADERS])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
        table.setRowCount(len(STEPS))
        for row, (name, text) in enumerate(STEPS):
            for column, cell in enumerate((name, _(text), "")):
                item = qt.QTableWidgetItem(cell)
                item.setToolTip(_(text))
                table.setItem(row, column, item)
        fit_height(table, len(STEPS))
        ui.scratchButton.connect("clicked(bool)", self._on_start)
        ui.copyCommandButton.connect("clicked(bool)", self._on_copy)
        self.show()

    def show(self) -> None:
        """Show which steps are done, and what can be clicked."""
        project, state = self._panel.cases.project, self._training.state
        active = state is not None and state.active
        self._ui.scratchButton.enabled = project is not None and not active
        done = self._done()
        for row, (name, _text) in enumerate(STEPS):
            self._ui.stepTable.item(row, 2).setText(_("done") if name in done else "")

    def settings(self) -> DistilSettings:
        """Return the chosen steps of the recipe on the data; raises ``UsageError`` without a recipe."""
        ui = self._ui
        recipe = ui.recipePath.currentPath.strip()
        if not recipe:
            remedy = _("Choose a file, or type the name of one that ships: {names}.")
            raise UsageError(_("No recipe is chosen."), remedy.format(names=", ".join(shipped_recipes())))
        rows = range(ui.stepTable.rowCount)
        chosen = tuple(STEPS[row][0] for row in rows if ui.stepTable.item(row, 0).isSelected())
        stages = () if len(chosen) == len(STEPS) else chosen
        data, after_close = ui.dataPath.currentPath.strip(), self._panel.settings.after_close
        return DistilSettings(recipe=recipe, data=data, stages=stages, after_close=after_close)

    def _done(self) -> set[str]:
        """Return the steps that finished trainings of this recipe took."""
        project, recipe = self._panel.cases.project, self._ui.recipePath.currentPath.strip()
        try:
            recipe = str(find_recipe(recipe).absolute()) if recipe else ""
        except ConfigError:  # not typed to its end
            recipe = ""
        done: set[str] = set()
        for run in self._training.runs(project.folder) if project is not None and recipe else ():
            settings = run.settings
            if isinstance(settings, DistilSettings) and settings.recipe == recipe and run.state is State.FINISHED:
                done |= set(settings.stages or [name for name, _text in STEPS])
        return done

    def _on_start(self, checked: bool = False) -> None:
        with errors_shown(_("The steps could not be started.")):
            if self._panel.setup.ensure():
                self._panel.run.start(self.settings())

    def _on_copy(self, checked: bool = False) -> None:
        with errors_shown(_("The command could not be written.")):
            project = self._panel.cases.project
            data = project.folder if project is not None else ""
            text = command(self.settings(), data=data, processes=int(self._ui.processSpin.value))
            slicer.app.clipboard().setText(text)
            self._ui.scratchLabel.text = _("Copied: {command}").format(command=text)
