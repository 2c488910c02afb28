"""Adding a case: the CT and the segmentation that are shown, and which label each segment becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from hlfd.errors import InputError
from hlfd_web.train_panel.labels import LabelRows
from hlfd_web.train_panel.section import FIELD, Section, items
from hlfd_web.train_panel.words import mapping_text
from HLFDTrainLib.choices import ROLES
from HLFDTrainLib.segment_watch import SegmentWatch

if TYPE_CHECKING:
    from hlfd_web.train_panel.panel import TrainPanel


class AddSection(Section):
    """Proposes a label for each segment. The table follows the segments: they come, go and are renamed meanwhile."""

    def __init__(self, panel: TrainPanel) -> None:
        super().__init__(panel)
        self.rows = LabelRows(self.state, "train_map")
        self._watch = SegmentWatch(self._on_change)
        self._soon = False  # many segments change at once: the table is filled once afterwards
        self.set(add_text="", add_source="", add_title="", add_role="train", add_ready=False, add_identifiers=False)
        self.set(add_roles=items(ROLES[:3]))
        self.context.on_change.connect(self._on_change)

    def show(self) -> None:
        """Propose labels for the segments as they are now."""
        volume, node = self.context.volume_node, self.context.segmentation_node
        self._watch.follow(node)
        if node is None or self.cases.project is None:
            self.rows.fill([], ())
        else:
            self._fill(node)
        names = [one.GetName() for one in (volume, node) if one is not None]
        self.set(add_source=" + ".join(names))
        self._say()

    def poll(self) -> None:
        """Fill the table again after segments changed."""
        if self._soon:
            self._soon = False
            with self.context.notices.shown():
                self.show()

    def choose(self, key: str, label: str | None) -> None:
        """Let a segment become another label."""
        self.rows.choose(key, label)
        self._say()

    def add(self) -> None:
        """Add the case as the table says."""
        volume, node = self.context.volume_node, self.context.segmentation_node
        with self.context.notices.shown():
            if volume is None or node is None:
                raise InputError("No CT with a segmentation is shown.", "Open and segment one, or draw on it in Edit.")
            shown = self.rows.mapping
            self._fill(node)
            if set(self.rows.mapping) != set(shown):
                raise InputError(
                    "The segmentation has other segments than the table showed.",
                    "Look at the table again, correct it where it is wrong, and click Add case.",
                )
            title, role = str(self.get("add_title") or "").strip(), str(self.get("add_role"))
            copied = bool(self.get("add_identifiers"))
            self.panel.begin(lambda: self.cases.add(volume, node, self.rows.mapping, title, role, copied))

    def clear(self) -> None:
        """Forget the name of the case that was added."""
        self.set(add_title="")

    def close(self) -> None:
        """Follow no segmentation any more."""
        self.context.on_change.disconnect(self._on_change)
        self._watch.follow(None)

    def build(self) -> None:
        """Write the widgets."""
        html.Div("{{ train_add_source || 'Nothing is shown.' }}", classes="text-subtitle-2 mb-1",
                 data_testid="train-add-source")  # fmt: skip
        self.rows.build("Segment", self.choose, "train-map")
        html.Div("{{ train_add_text }}", classes="text-body-2 mb-3", role="status", data_testid="train-add-text")
        v3.VTextField(v_model=("train_add_title",), label="Name of the case", raw_attrs=['maxlength="120"'],
                      data_testid="train-add-title", **FIELD)  # fmt: skip
        v3.VSelect(v_model=("train_add_role",), items=("train_add_roles",), label="Role", data_testid="train-add-role",
                   **FIELD)  # fmt: skip
        v3.VCheckbox(v_model=("train_add_identifiers",), label="Keep DICOM instance identifiers", density="compact",
                     hide_details=True, data_testid="train-add-identifiers")  # fmt: skip
        v3.VBtn("Add case", block=True, color="primary", disabled=("!train_add_ready || !!train_task",), click=self.add,
                data_testid="train-add")  # fmt: skip

    def _fill(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        proposed = self.cases.suggest_mapping(node)
        rows = [(one.id, one.name, proposed.get(one.id, "")) for one in self.cases.segments(node)]
        self.rows.fill(rows, self.cases.label_names)

    def _say(self) -> None:
        """Say what the case would be, and whether it can be added."""
        mapping, node = self.rows.mapping, self.context.segmentation_node
        used = [label for label in mapping.values() if label]
        known = self.cases.case_of(node) if node is not None else None
        ready = self.cases.project is not None and self.context.volume_node is not None and known is None
        if self.cases.project is None:
            text = "Open or create a project first."
        elif node is None:
            text = "Show a CT with its segmentation: segment it, or draw on it in Edit."
        elif known is not None:
            text = f"This is {known.caption} already: to change it, correct it and save its corrections in the list."
        else:
            text = mapping_text(used, len(mapping) - len(used))
        self.set(add_text=text, add_ready=ready and bool(used))

    def _on_change(self) -> None:
        self._soon = True
