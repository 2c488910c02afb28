"""The panel in which a segmentation is corrected."""

from __future__ import annotations

import time
from typing import Any

from hlfd.errors import InputError, UsageError
from hlfd.models.registry import find
from hlfd.words import number
from hlfd_web.edit_panel.editor import TOOLS, Editor, has_surfaces
from hlfd_web.edit_panel.layers import segment_volumes_ml
from hlfd_web.edit_panel.saving import Saving
from hlfd_web.edit_panel.start import empty_segmentation
from hlfd_web.edit_panel.surfaces import SurfaceMaker
from hlfd_web.edit_panel.ui import build_drawer
from hlfd_web.panel import Panel
from HLFDSegmentLib.edits import edited_segments
from HLFDSegmentLib.report_export import stored_result

_SETTLED_S = 0.4
_BRUSH_MM = 8.0
_RANGE_HU = (0, 200)
_FIELDS: dict[str, Any] = {
    "ready": False,
    "has_volume": False,
    "name": "",
    "tool": "look",
    "brush": _BRUSH_MM,
    "sphere": False,
    "mask": False,
    "range": list(_RANGE_HU),
    "segments": [],
    "segment": "",
    "can_undo": False,
    "can_redo": False,
    "changed_text": "",
    "surfaces_busy": False,
    "saving": False,
}


class EditPanel(Panel):
    """Paints and erases in the slice views; its state names begin with ``edit_``."""

    name = "edit"
    title = "Edit"
    icon = "mdi-brush"

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.editor = Editor(context.slicer_app.segmentation_editor)
        self.surfaces = SurfaceMaker(lambda: context.jobs)
        self.saving = Saving(context)
        self._open = False
        self._want_surfaces = False
        self._changed_at: float | None = None  # what the segments hold is looked at when the mouse rests
        self.set(**_FIELDS)
        self.editor.stack.index_changed.connect(self._on_edited)
        self.editor.core.active_segment_id_changed.connect(self._on_core)
        self.editor.core.active_effect_name_changed.connect(self._on_core)
        self.state.change("edit_tool")(self._on_tool)
        self.state.change("edit_segment")(self._on_segment)
        self.state.change("edit_brush", "edit_sphere")(self._on_brush)
        self.state.change("edit_mask", "edit_range")(self._on_mask)
        context.on_change.connect(self._on_context)
        context.every(self.poll)

    def set(self, **values: Any) -> None:
        """Set state of the panel by the names without their prefix."""
        self.state.update({f"edit_{name}": value for name, value in values.items()})

    def build(self) -> None:
        """Write the panel's part of the drawer."""
        build_drawer(self)

    def enter(self) -> None:
        """Edit the segmentation that is shown."""
        self._open = True
        self.surfaces.cancel()
        self._attach()

    def leave(self) -> None:
        """Give the mouse back to the views, and make the surfaces of what was changed."""
        self._open = False
        self.set(tool="look")
        self.editor.use("look")
        self._make_surfaces()

    def close(self) -> None:
        """Let go of the segmentation."""
        self.context.no_more(self.poll)
        self.surfaces.cancel()
        self.saving.close()
        self.editor.detach()

    def poll(self) -> None:
        """Look at what was changed when the mouse rests, and take in surfaces."""
        self.surfaces.poll()
        self.saving.poll()
        if self.state.edit_saving != self.saving.busy:
            self.set(saving=self.saving.busy)
        if self.state.edit_surfaces_busy != self.surfaces.busy:
            self.set(surfaces_busy=self.surfaces.busy)
        if self._changed_at is not None and time.monotonic() - self._changed_at > _SETTLED_S:
            self._changed_at = None
            self.show()
            self.context.changed()
        brush = self.editor.brush_mm() if self._open else 0.0
        if brush and abs(brush - float(self.state.edit_brush)) > 0.05:
            self.set(brush=round(brush, 1))

    def show(self) -> None:
        """List the segments as they are now, and say what was changed since the measurement."""
        node, core = self.editor.node, self.editor.core
        self.set(has_volume=self.context.volume_node is not None, ready=node is not None)
        if node is None:
            self.set(segments=[], segment="", name="", changed_text="", can_undo=False, can_redo=False)
            return
        volumes = segment_volumes_ml(node)
        rows = [
            {
                "id": key,
                "name": one.name,
                "color": one.color_hex,
                "shown": bool(core.get_segment_visibility(key)),
                "ml": f"{number(volumes.get(key, 0.0), 1)} ml",
            }
            for key, one in core.get_all_segment_properties().items()
        ]
        self.set(segments=rows, segment=self.editor.segment, name=node.GetName(), changed_text=_changed_text(node))
        self.set(can_undo=self.editor.stack.can_undo(), can_redo=self.editor.stack.can_redo())

    def undo(self) -> None:
        """Take the last change back."""
        with self.context.notices.shown():
            self.editor.undo()

    def redo(self) -> None:
        """Do again what was taken back."""
        with self.context.notices.shown():
            self.editor.redo()

    def toggle(self, segment_id: str) -> None:
        """Show or hide a segment."""
        with self.context.notices.shown():
            self.editor.show(segment_id, not self.editor.core.get_segment_visibility(segment_id))
            self.show()

    def begin(self) -> None:
        """Make an empty segmentation of the shown CT, with a segment for each label of the model."""
        with self.context.notices.shown():
            volume = self.context.volume_node
            if volume is None:
                raise InputError("No CT is shown.", "Open one first.")
            package = find(str(self.state.seg_model or "kidney"), verify=False)
            self.context.show_segmentation(empty_segmentation(self.scene, volume, package.labels))

    def save(self) -> None:
        """Write the segments as they are now below the results of the data folder."""
        with self.context.notices.shown():
            self.saving.start(self.editor.node, self.context.volume_node)

    def to_training(self) -> None:
        """Offer the correction as the next case of a training."""
        with self.context.notices.shown():
            train = self.context.panels.get("train")
            if train is None or self.editor.node is None:
                raise UsageError("There is nothing to add.", "Segment a CT, or draw on it, first.")
            volume, node = self.context.volume_node, self.editor.node
            self.context.open_panel("train")
            train.offer(volume, node)

    def _attach(self) -> None:
        node, volume = self.context.segmentation_node, self.context.volume_node
        with self.context.notices.shown():
            if node is None or volume is None:
                self.editor.detach()
            else:
                self._want_surfaces = has_surfaces(node) or (self._want_surfaces and node is self.editor.node)
                self.editor.attach(node, volume)
                self._on_brush()
                self._on_mask()
        self.show()

    def _on_context(self) -> None:
        if self._open and (
            self.editor.node is not self.context.segmentation_node
            or self.editor.core.active_volume_node is not self.context.volume_node
        ):
            self._attach()

    def _on_edited(self, *_index: Any) -> None:
        self._changed_at = time.monotonic()
        self.set(can_undo=self.editor.stack.can_undo(), can_redo=self.editor.stack.can_redo())

    def _on_core(self, *_names: Any) -> None:
        self.set(tool=self.editor.tool, segment=self.editor.segment)

    def _on_tool(self, **_state: Any) -> None:
        tool = str(self.state.edit_tool)
        if tool in TOOLS and tool != self.editor.tool and self.editor.node is not None:
            with self.context.notices.shown():
                self.editor.use(tool)
                self._on_brush()

    def _on_segment(self, **_state: Any) -> None:
        segment = str(self.state.edit_segment or "")
        if segment and segment != self.editor.segment:
            with self.context.notices.shown():
                self.editor.choose(segment)

    def _on_brush(self, **_state: Any) -> None:
        with self.context.notices.shown():
            self.editor.set_brush(float(self.state.edit_brush), bool(self.state.edit_sphere))

    def _on_mask(self, **_state: Any) -> None:
        with self.context.notices.shown():
            low, high = (float(value) for value in self.state.edit_range)
            self.editor.set_mask(bool(self.state.edit_mask), min(low, high), max(low, high))

    def _make_surfaces(self) -> None:
        node = self.editor.node
        if node is None or not self._want_surfaces or has_surfaces(node):
            return
        with self.context.notices.shown():
            self.surfaces.start(node, lambda: self.editor.keep_surfaces(True))


def _changed_text(node: Any) -> str:
    """Say which segments the measurements no longer fit; empty where they fit, or nothing was measured."""
    if not stored_result(node):
        return ""
    changed = edited_segments(node)
    if not changed:
        return ""
    return f"Changed since the measurement: {', '.join(changed)}. The table in Segment tells what was measured before."
