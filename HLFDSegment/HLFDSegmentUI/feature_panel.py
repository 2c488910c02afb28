"""The section of the feature viewer: what to look at, in which colours, and what goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError
from hlfd.events import Event, Progress, Stage, Warn
from hlfd.viewer import PART_MM
from hlfd.words import duration
from HLFDSegmentLib.feature_colors import CHOICES
from HLFDSegmentLib.feature_figure import export_figure, export_maps
from HLFDSegmentLib.feature_layout import ORIENTATIONS
from HLFDSegmentLib.feature_logic import FeatureLogic
from HLFDSegmentLib.feature_maps import TITLES, FeatureMaps, Selection
from HLFDSegmentLib.stages import FEATURE_STAGES
from HLFDSegmentUI.dialogs import errors_shown, show_error
from HLFDSegmentUI.tables import fit_height

_KINDS = {
    "attention": "Attention",
    "channel": "One channel",
    "pca": "Principal components as color",
    "evidence": "Evidence for tumor (Grad-CAM)",
    "difference": "Difference of attention to the teacher's",
}
_PLACES = {
    "tumor": "Around the tumor (quick)",
    "crosshair": "Around the cross-hair (quick)",
    "whole": "Whole region with most tumor",
}
_HEADERS = ("Network", "Channel", "Selectivity")


class FeatureSection:
    """Works with the widgets named feature... of ``ui``; ``settings`` gives model and device, ``busy`` the timer."""

    def __init__(self, ui: Any, engine: Any, settings: Callable[[], SegmentSettings | None], busy: Any) -> None:
        self._ui = ui
        self._settings = settings
        self._busy = busy
        self._rows: list[tuple[str, int, float]] = []
        self._filling = False
        self._first = ""  # what is said of the layer that is there already
        self.logic = FeatureLogic(slicer.mrmlScene, engine)
        self.logic.event.connect(self._on_event)
        self.logic.glanced.connect(self._on_glanced)
        self.logic.finished.connect(self._on_finished)
        self.logic.failed.connect(self._on_failed)
        self.logic.cancelled.connect(self._on_cancelled)
        self.logic.moved.connect(self._on_moved)
        self.logic.left.connect(self._on_left)
        self._fill_regions(())
        for name in (_("Own of each map"), *CHOICES):
            ui.featureColors.addItem(name)
        for orientation in ORIENTATIONS:
            ui.featureOrientation.addItem(_(orientation))
        table = ui.featureChannels
        table.setColumnCount(len(_HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in _HEADERS])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self._connect()
        self._show_running(False)
        self._show_maps(False)

    def _connect(self) -> None:
        ui = self._ui
        ui.featureButton.connect("clicked(bool)", self._on_run)
        ui.featureCancelButton.connect("clicked(bool)", self._on_cancel)
        ui.featureLeaveButton.connect("clicked(bool)", self._on_leave)
        ui.featureFigureButton.connect("clicked(bool)", self._on_figure)
        ui.featureMapsButton.connect("clicked(bool)", self._on_maps)
        ui.featurePair.connect("currentIndexChanged(int)", self._on_choice)
        ui.featureKind.connect("currentIndexChanged(int)", self._on_choice)
        ui.featureColors.connect("currentIndexChanged(int)", self._on_colors)
        ui.featureOrientation.connect("currentIndexChanged(int)", self._on_orientation)
        ui.featureOpacity.connect("valueChanged(double)", self.logic.set_opacity)
        ui.featureSearch.connect("textChanged(QString)", self._fill_channels)
        ui.featureChannels.connect("cellClicked(int,int)", self._on_cell)

    @property
    def running(self) -> bool:
        """Whether the networks are at work."""
        return self.logic.running

    def poll(self) -> None:
        """Show what the worker reported; called by the panel's timer."""
        self.logic.poll()

    def close(self) -> None:
        """Stop the work and restore the user's layout."""
        self.logic.close()

    def _on_run(self, checked: bool = False) -> None:
        if self.running:
            return
        with errors_shown(_("The feature maps could not be made.")):
            settings = self._settings()
            if settings is None:
                return
            self.logic.engine.settings = settings
            request = self._what()
            teacher = self._ui.featureTeacher.currentPath
            if teacher:
                request["teacher"] = teacher
            self._first = ""
            self.logic.start(self._ui.inputSelector.currentNode(), request)
            self._show_running(True)
            self._say(_("Starting..."))
            self._busy.begin(_("Feature maps: model {model}").format(model=settings.model))

    def _what(self) -> dict[str, Any]:
        """Return the fields of the request that say which part of the volume is looked at."""
        index = self._ui.featureRegion.currentIndex
        if index >= len(_PLACES):
            return {"region": index - len(_PLACES)}
        name = list(_PLACES)[index]
        around = {"around": self.logic.layout.crosshair()} if name == "crosshair" else {}
        return {**around, "part_mm": 0.0 if name == "whole" else PART_MM}

    def _on_cancel(self, checked: bool = False) -> None:
        self._say(_("Cancelling..."))
        self.logic.cancel()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._say(self._first + _(FEATURE_STAGES.get(event.name, event.name.capitalize())) + "...")
        elif isinstance(event, Progress) and event.total:
            self._ui.featureBar.setRange(0, 100)
            self._ui.featureBar.setValue(int(100 * event.done / event.total))
        elif isinstance(event, Warn):
            self._busy.say(event.message)

    def _on_glanced(self, maps: FeatureMaps) -> None:
        self._show_all(maps)
        self._show_running(True)
        said = _("Layer {layer} is shown first: {place}. The other layers, class evidence and full precision follow.")
        self._first = said.format(layer=maps.pairs[0], place=_place(maps)) + "\n"
        self._say(self._first.strip())

    def _on_finished(self, maps: FeatureMaps) -> None:
        self._show_running(False)
        self._show_all(maps)
        text = _("Done in {time} on {device}.").format(
            time=duration(maps.answer["seconds"]), device=maps.answer["device"]
        )
        shown = _("Shown: {place}.").format(place=_place(maps))
        self._say("\n".join([f"{text} {shown}", *_notes(maps)]))
        self._busy.end(text)

    def _show_all(self, maps: FeatureMaps) -> None:
        self._fill_regions(maps.regions)
        self._fill_choices()
        self._show_maps(True)

    def _on_failed(self, error: HlfdError) -> None:
        self._show_running(False)
        self._say(self._with_what_stays(error.message))
        self._busy.end(str(error))
        show_error(error)

    def _on_cancelled(self, reason: str) -> None:
        self._show_running(False)
        self._show_maps(self.logic.maps is not None)
        self._say(self._with_what_stays(reason))
        self._busy.end(reason)

    def _with_what_stays(self, text: str) -> str:
        maps = self.logic.maps
        if maps is None:
            return text
        kept = _("Still shown: layer {layer}, {place}.") if len(maps.pairs) == 1 else _("Still shown: {place}.")
        return f"{text} " + kept.format(layer=maps.pairs[0], place=_place(maps))

    def _on_moved(self, position: tuple[float, float, float]) -> None:
        values = self.logic.values_at(position)
        texts = [f"{_(TITLES[role])}: {value:.3g}" for role, value in values.items()]
        self._ui.featureValues.text = _("At the cross-hair: ") + ", ".join(texts) if texts else ""

    def _fill_regions(self, regions: Sequence[str]) -> None:
        selector = self._ui.featureRegion
        chosen = max(selector.currentIndex, 0)
        selector.clear()
        for name in (*_PLACES.values(), *(_("Whole {region}").format(region=_(name)) for name in regions)):
            selector.addItem(_(name))
        selector.setCurrentIndex(chosen if chosen < len(_PLACES) + len(regions) else 0)

    def _fill_choices(self) -> None:
        """List the layer pairs and kinds of map that there are, and show which are chosen."""
        maps, selection = self.logic.maps, self.logic.selection
        self._filling = True
        for selector, names, chosen in (
            (self._ui.featurePair, list(maps.pairs), selection.pair),
            (self._ui.featureKind, list(maps.kinds(selection.pair)), selection.kind),
        ):
            selector.clear()
            for name in names:
                selector.addItem(_(_KINDS.get(name, name)))
            selector.setCurrentIndex(names.index(chosen))
        self._filling = False
        self._fill_channels()

    def _fill_channels(self, text: str = "") -> None:
        maps, selection = self.logic.maps, self.logic.selection
        if maps is None or selection is None:
            return
        wanted = self._ui.featureSearch.text.strip().lower()
        rows = [(role, *channel) for role in maps.roles for channel in maps.channels(selection.pair, role)]
        rows.sort(key=lambda row: -row[2])
        self._rows = [row for row in rows if wanted in f"{_(TITLES[row[0]])} {row[1]}".lower()]
        table = self._ui.featureChannels
        table.setRowCount(len(self._rows))
        for index, (role, channel, selectivity) in enumerate(self._rows):
            for column, cell in enumerate((_(TITLES[role]), str(channel), f"{selectivity:+.2f}")):
                table.setItem(index, column, qt.QTableWidgetItem(cell))
        fit_height(table, len(self._rows))

    def _on_choice(self, index: int = 0) -> None:
        maps, ui = self.logic.maps, self._ui
        if self._filling or maps is None or ui.featurePair.currentIndex < 0 or ui.featureKind.currentIndex < 0:
            return
        pair = maps.pairs[ui.featurePair.currentIndex]
        kinds = maps.kinds(self.logic.selection.pair)
        kind = kinds[ui.featureKind.currentIndex]
        kept = self.logic.selection.channels if pair == self.logic.selection.pair else ()
        with errors_shown(_("The map could not be shown.")):
            self.logic.show(Selection(pair, kind if kind in maps.kinds(pair) else "attention", kept))
            self._fill_choices()

    def _on_cell(self, row: int, column: int) -> None:
        if 0 <= row < len(self._rows):
            role, channel, _selectivity = self._rows[row]
            with errors_shown(_("The channel could not be shown.")):
                self.logic.show_channel(role, channel)
                self._ui.featureKind.setCurrentIndex(self.logic.maps.kinds(self.logic.selection.pair).index("channel"))

    def _on_colors(self, index: int) -> None:
        self.logic.set_color_table(("", *CHOICES)[index])

    def _on_orientation(self, index: int) -> None:
        self.logic.layout.orient(ORIENTATIONS[index])

    def _on_leave(self, checked: bool = False) -> None:
        self.logic.leave()

    def _on_left(self) -> None:
        self._show_maps(False)
        if not self.running:
            self._say("")

    def _on_figure(self, checked: bool = False) -> None:
        path = qt.QFileDialog.getSaveFileName(None, _("Export the figure"), "feature-maps.png", "PNG (*.png)")
        if path:
            with errors_shown(_("The figure could not be written.")):
                orientation = ORIENTATIONS[self._ui.featureOrientation.currentIndex]
                export_figure(self.logic, slicer.app.applicationLogic(), Path(path), orientation)
                self._busy.say(_("Figure written to {path}.").format(path=path))

    def _on_maps(self, checked: bool = False) -> None:
        folder = qt.QFileDialog.getExistingDirectory(None, _("Export the maps into a folder"))
        if folder:
            with errors_shown(_("The maps could not be written.")):
                written = export_maps(self.logic, Path(folder))
                self._busy.say(_("{count} maps written to {path}.").format(count=len(written), path=folder))

    def _say(self, text: str) -> None:
        self._ui.featureLabel.text = text
        self._ui.featureLabel.visible = bool(text)

    def _show_running(self, running: bool) -> None:
        self._ui.featureButton.enabled = not running
        self._ui.featureBar.visible = self._ui.featureCancelButton.visible = running
        self._ui.featureBar.setRange(0, 0 if running else 100)

    def _show_maps(self, shown: bool) -> None:
        ui = self._ui
        for widget in (ui.featurePair, ui.featureKind, ui.featureColors, ui.featureOrientation, ui.featureOpacity):
            widget.enabled = shown
        for widget in (ui.featureSearch, ui.featureFigureButton, ui.featureMapsButton, ui.featureLeaveButton):
            widget.enabled = shown
        ui.featureChannels.visible = shown
        if not shown:
            ui.featureValues.text = ""


def _place(maps: FeatureMaps) -> str:
    """Say what of the volume is shown."""
    region = _(maps.answer["regions"][maps.answer["region"]]["name"])
    if not maps.partial:
        return _("{region}, whole").format(region=region)
    size = " x ".join(f"{length:.0f}" for length in maps.extent)
    return _("{region}, a part of {size} mm").format(region=region, size=size)


def _notes(maps: FeatureMaps) -> list[str]:
    """Say what is odd or missing."""
    notes = list(maps.answer["warnings"])
    if "teacher" not in maps.roles:
        alone = _("This model has no teacher, so the student is shown alone.")
        pair = _("This model has no teacher, so there is nothing that the students can be compared with.")
        own = _("A teacher of your own can be named above under Other teacher.")
        notes.append(f"{alone if len(maps.roles) == 1 else pair} {own}")
    if not maps.answer["voxels"]["tumor"]:
        notes.append(_("The student found no tumor here; channels are ordered by how they tell the kidney."))
    return notes
