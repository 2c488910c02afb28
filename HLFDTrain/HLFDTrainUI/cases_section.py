"""The list of cases: what each looks like, what it is for, and correcting it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from hlfd.project import CaseInfo
from HLFDSegmentUI.dialogs import confirmed, errors_shown
from HLFDTrainLib.choices import ROLES
from HLFDTrainUI.choices import Choice

_HEADERS = ("Case", "Role", "Volumes in ml")
_THUMBNAIL, _ROW_PIXELS, _MOST_ROWS = 56, 60, 5
_ROLE_NAMES = dict(ROLES)


class CasesSection:
    """Shows the cases of ``logic`` and changes them one after the other; ``busy`` has timer and log."""

    def __init__(self, ui: Any, logic: Any, busy: Any) -> None:
        self._ui = ui
        self._logic = logic
        self._busy = busy
        self._cases: tuple[CaseInfo, ...] = ()
        self._waiting: deque[Callable[[], None]] = deque()
        self._role = Choice(ui.roleSelector, [(value, _(name)) for value, name in ROLES])
        table = ui.caseTable
        table.setColumnCount(len(_HEADERS))
        table.setHorizontalHeaderLabels([_(header) for header in _HEADERS])
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(_ROW_PIXELS)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(2, qt.QHeaderView.Stretch)
        table.setIconSize(qt.QSize(_THUMBNAIL, _THUMBNAIL))
        table.connect("itemSelectionChanged()", self._on_selection)
        ui.roleSelector.connect("currentIndexChanged(int)", self._on_role)
        ui.editCaseButton.connect("clicked(bool)", self._on_edit)
        ui.updateCaseButton.connect("clicked(bool)", self._on_update)
        ui.removeCaseButton.connect("clicked(bool)", self._on_remove)
        self.show()

    @property
    def selected(self) -> list[CaseInfo]:
        """The chosen cases, in the order of the list."""
        table = self._ui.caseTable
        return [case for row, case in enumerate(self._cases) if table.item(row, 0).isSelected()]

    def show(self) -> None:
        """List the cases as they are now; what was chosen stays chosen."""
        chosen = {case.id for case in self.selected}
        self._cases = self._logic.cases if self._logic.project is not None else ()
        table = self._ui.caseTable
        table.blockSignals(True)
        table.clearSelection()
        table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            self._fill_row(row, case)
            for column in range(len(_HEADERS) if case.id in chosen else 0):
                table.item(row, column).setSelected(True)
        table.blockSignals(False)
        table.visible = bool(self._cases)
        height = 30 + _ROW_PIXELS * min(len(self._cases), _MOST_ROWS)
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        self._ui.casesLabel.text = self._advice()
        self._on_selection()

    def next(self) -> None:
        """Begin what waits for the end of the task before it; called when one is finished."""
        while self._waiting and not self._logic.task:
            with errors_shown(_("The case could not be changed.")):
                self._waiting.popleft()()

    def forget(self) -> None:
        """Drop what waits; called when a task failed."""
        self._waiting.clear()

    def open_editor(self, volume_node: Any, segmentation_node: Any) -> None:
        """Show a loaded case in the Segment Editor."""
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(segmentation_node)
        editor.setSourceVolumeNode(volume_node)

    def _fill_row(self, row: int, case: CaseInfo) -> None:
        volumes = "\n".join(f"{name} {ml:.1f}" for name, ml in case.volumes_ml.items() if ml > 0)
        spacing = " x ".join(f"{mm:.2f}" for mm in case.spacing_mm)
        voxels = " x ".join(str(count) for count in reversed(case.shape))
        hint = _("{id}: {voxels} voxels of {spacing} mm").format(id=case.id, voxels=voxels, spacing=spacing)
        for column, text in enumerate((case.caption, _(_ROLE_NAMES.get(case.role, case.role)), volumes)):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(hint)
            if column == 0:
                item.setIcon(qt.QIcon(str(case.thumbnail)))
            self._ui.caseTable.setItem(row, column, item)

    def _advice(self) -> str:
        if self._logic.project is None:
            return _("Open or create a project first.")
        if not self._cases:
            return _("No case yet. Add one below: a CT of the scene and what you drew on it.")
        counts = Counter(case.role for case in self._cases)
        parts = [f"{counts[role]} {_(name).lower()}" for role, name in ROLES if counts[role]]
        text = _("{count} cases: {roles}.").format(count=len(self._cases), roles=", ".join(parts))
        if not counts["train"]:
            text += " " + _("No case has the role training: give it to some.")
        elif len(self._cases) > 1 and not counts["test"]:
            text += " " + _("No case has the role test: before and after will be compared on cases held out by chance.")
        return text

    def _on_selection(self) -> None:
        chosen = self.selected
        self._ui.roleSelector.enabled = self._ui.removeCaseButton.enabled = bool(chosen)
        self._ui.editCaseButton.enabled = len(chosen) == 1
        self._ui.updateCaseButton.enabled = len(chosen) == 1 and self._node_of(chosen[0]) is not None
        if chosen:
            self._ui.roleSelector.blockSignals(True)
            self._role.select(chosen[0].role)
            self._ui.roleSelector.blockSignals(False)

    def _on_role(self, index: int) -> None:
        role = self._role.value
        for case in self.selected:
            if case.role != role:
                self._later(lambda name=case.id: self._logic.set_role(name, role))

    def _on_edit(self, checked: bool = False) -> None:
        case = self.selected[0]
        self._later(lambda: self._logic.load_case(case.id))

    def _on_update(self, checked: bool = False) -> None:
        case = self.selected[0]
        self._later(lambda: self._logic.update(case.id, self._node_of(case)))

    def _on_remove(self, checked: bool = False) -> None:
        chosen = self.selected
        names = ", ".join(case.caption for case in chosen)
        folder = self._logic.project.folder / "removed"
        question = _("Remove {names} from the project? The files go to {folder}.").format(names=names, folder=folder)
        if confirmed(question):
            for case in chosen:
                self._later(lambda name=case.id: self._logic.remove(name))

    def _later(self, task: Callable[[], None]) -> None:
        self._waiting.append(task)
        self._busy.begin("")
        self.next()

    def _node_of(self, case: CaseInfo) -> Any:
        """Return the newest segmentation of the scene that belongs to a case."""
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        belonging = [node for node in nodes if (found := self._logic.case_of(node)) is not None and found.id == case.id]
        return belonging[-1] if belonging else None
