"""Adding a case: which volume, which segmentation, and which label each segment becomes."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from hlfd.errors import InputError
from HLFDSegmentUI.dialogs import errors_shown
from HLFDTrainLib.choices import ROLES
from HLFDTrainLib.segment_watch import SegmentWatch
from HLFDTrainUI.choices import Choice
from HLFDTrainUI.label_table import LabelTable

_SOON_MS = 50


class AddSection:
    """Proposes a label for each segment, and hands the corrected table to ``logic``.

    The table follows the segments: they come, go and are renamed while somebody draws.
    """

    def __init__(self, ui: Any, logic: Any, busy: Any) -> None:
        self._ui = ui
        self._logic = logic
        self._busy = busy
        self._soon = qt.QTimer(ui.HLFDTrain)  # many segments change at once: the table is filled once afterwards
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self._on_node)
        self._watch = SegmentWatch(lambda: self._soon.start(_SOON_MS))
        self._role = Choice(ui.addRole, [(value, _(name)) for value, name in ROLES[:3]])
        self.labels = LabelTable(ui.mappingTable, _("Segment"), self._say)
        ui.addSegmentation.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        ui.addVolume.connect("currentNodeChanged(vtkMRMLNode*)", self._on_node)
        ui.addButton.connect("clicked(bool)", self._on_add)
        self.show()

    def show(self) -> None:
        """Propose labels for the segments as they are now."""
        node = self._ui.addSegmentation.currentNode()
        if node is None or self._logic.project is None:
            self.labels.fill([], ())
        else:
            self._fill(node)
        self._say()

    def choose(self, volume_node: Any, segmentation_node: Any) -> None:
        """Show a volume and its segmentation as the next case."""
        self._ui.addVolume.setCurrentNode(volume_node)
        self._ui.addSegmentation.setCurrentNode(segmentation_node)
        self.show()

    def close(self) -> None:
        """Follow no segmentation any more."""
        self._soon.stop()
        self._watch.follow(None)

    def clear(self) -> None:
        """Forget the name of the case that was added."""
        self._ui.addTitle.text = ""

    def _fill(self, segmentation_node: Any) -> None:
        proposed = self._logic.suggest_mapping(segmentation_node)
        rows = [(one.id, one.name, proposed.get(one.id, "")) for one in self._logic.segments(segmentation_node)]
        self.labels.fill(rows, self._logic.label_names)

    def _say(self) -> None:
        """Say what the case would be, and whether it can be added."""
        ui, mapping = self._ui, self.labels.mapping
        used = sorted({label for label in mapping.values() if label})
        left_out = sum(not label for label in mapping.values())
        node = ui.addSegmentation.currentNode()
        known = self._logic.case_of(node) if node is not None else None
        ready = self._logic.project is not None and ui.addVolume.currentNode() is not None and known is None
        ui.addButton.enabled = ready and bool(used) and not self._logic.task
        if self._logic.project is None:
            text = _("Open or create a project first.")
        elif node is None:
            text = _("Choose the segmentation that you drew.")
        elif not used:
            text = _("No segment has a label yet: choose one in the table.")
        else:
            text = _("Labels: {names}.").format(names=", ".join(used))
            text += " " + _("{count} segments are left out.").format(count=left_out) if left_out else ""
        if known is not None:
            text += " " + _("This is {case} already: to change it, choose it in the list and click Save edits.").format(
                case=known.caption
            )
        ui.mappingLabel.text = text

    def _on_node(self, node: Any = None) -> None:
        with errors_shown(_("The segments could not be read.")):
            self._watch.follow(self._ui.addSegmentation.currentNode())
            self.show()

    def _on_add(self, checked: bool = False) -> None:
        volume, segmentation = self._ui.addVolume.currentNode(), self._ui.addSegmentation.currentNode()
        with errors_shown(_("The case could not be added.")):
            shown = self.labels.mapping
            self._fill(segmentation)
            if set(self.labels.mapping) != set(shown):
                raise InputError(
                    _("The segmentation has other segments than the table showed."),
                    _("Look at the table again, correct it where it is wrong, and click Add case."),
                )
            title, identifiers = self._ui.addTitle.text.strip(), self._ui.identifiersBox.checked
            self._logic.add(volume, segmentation, self.labels.mapping, title, self._role.value, identifiers)
            self._busy.begin(_("Adding {name}...").format(name=volume.GetName()))
