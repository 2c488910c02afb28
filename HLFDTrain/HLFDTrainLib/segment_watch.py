"""Notices that the segments of a segmentation come, go or change while somebody draws."""

from __future__ import annotations

from collections.abc import Callable

import slicer

_KINDS = slicer.vtkSegmentation
_EVENTS = (_KINDS.SegmentAdded, _KINDS.SegmentRemoved, _KINDS.SegmentModified)


class SegmentWatch:
    """Calls ``on_change`` at each change of a segment of the segmentation that it follows; one at a time."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._segmentation: slicer.vtkSegmentation | None = None
        self._tags: list[int] = []

    def follow(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Follow the segments of another node, or of none."""
        segmentation = node.GetSegmentation() if node is not None else None
        if segmentation is self._segmentation:
            return
        for tag in self._tags:
            self._segmentation.RemoveObserver(tag)
        self._segmentation = segmentation
        self._tags = [segmentation.AddObserver(event, self._on_event) for event in _EVENTS] if segmentation else []

    def _on_event(self, caller: object, event: str) -> None:
        self._on_change()
