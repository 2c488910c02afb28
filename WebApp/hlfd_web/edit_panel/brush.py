"""Paint and erase with a brush that is drawn over the picture of a slice view: its outline, and the stroke so far.

trame-slicer shows its brush as a model; views that show models draw all slices anew whenever one is scrolled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import slicer
from trame_slicer.segmentation import SegmentationEffectErase, SegmentationEffectPaint
from trame_slicer.segmentation.segmentation_paint_pipeline import SegmentationPaintPipeline2D
from trame_slicer.views import SliceView
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkRenderingCore import vtkActor2D, vtkPolyDataMapper2D

_CORNERS = 28
_CIRCLE = [(math.cos(math.tau * n / _CORNERS), math.sin(math.tau * n / _CORNERS)) for n in range(_CORNERS)]
_STROKE_OPACITY = 0.45
_MOST_DISCS = 4000
Position = tuple[float, float]


class _Shape:
    """Polygons or lines in pixels, with their actor."""

    def __init__(self, filled: bool) -> None:
        self._filled = filled
        self._points, self._cells = vtkPoints(), vtkCellArray()
        self._data = vtkPolyData()
        self._data.SetPoints(self._points)
        (self._data.SetPolys if filled else self._data.SetLines)(self._cells)
        mapper = vtkPolyDataMapper2D()
        mapper.SetInputData(self._data)
        self.actor = vtkActor2D()
        self.actor.SetMapper(mapper)
        self.actor.PickableOff()
        self.actor.VisibilityOff()

    @property
    def count(self) -> int:
        return int(self._cells.GetNumberOfCells())

    def add(self, center: Position, radius: float) -> None:
        """Add a disc, or a circle."""
        ids = [self._points.InsertNextPoint(center[0] + radius * x, center[1] + radius * y, 0.0) for x, y in _CIRCLE]
        cell = ids if self._filled else [*ids, ids[0]]
        self._cells.InsertNextCell(len(cell), cell)
        self._changed()

    def clear(self) -> None:
        """Draw nothing."""
        self._points.Reset()
        self._cells.Reset()
        self._changed()

    def color(self, rgb: Sequence[float], opacity: float) -> None:
        """Set the color, RGB 0 to 1."""
        self.actor.GetProperty().SetColor(*rgb)
        self.actor.GetProperty().SetOpacity(opacity)

    def _changed(self) -> None:
        self._points.Modified()
        self._cells.Modified()
        self._data.Modified()
        self.actor.SetVisibility(self.count > 0)


class BrushPipeline(SegmentationPaintPipeline2D):
    """The brush of one slice view."""

    def __init__(self) -> None:
        super().__init__()
        self._outline, self._stroke = _Shape(filled=False), _Shape(filled=True)
        self._last: Position | None = None
        self._outline.actor.GetProperty().SetLineWidth(2)

    def OnRendererAdded(self, renderer: Any) -> None:  # noqa: N802  called by VTK
        """Put the brush into the view."""
        super().OnRendererAdded(renderer)
        if renderer is not None:
            for shape in (self._stroke, self._outline):
                renderer.AddViewProp(shape.actor)

    def OnRendererRemoved(self, renderer: Any) -> None:  # noqa: N802  called by VTK
        """Take the brush out of the view."""
        super().OnRendererRemoved(renderer)
        if renderer is not None:
            for shape in (self._stroke, self._outline):
                renderer.RemoveViewProp(shape.actor)

    def SetActive(self, active: bool) -> None:  # noqa: N802  of the base
        """Take part in painting; slice nodes of a layout that was left have no view to paint in."""
        super().SetActive(active and isinstance(self._view, SliceView))

    def LoseFocus(self, event_data: Any) -> None:  # noqa: N802  called by VTK
        """Draw no brush where the mouse is not."""
        if self.widget is None:
            return
        super().LoseFocus(event_data)
        self._outline.clear()
        self._stroke.clear()
        self._last = None
        self.RequestRender()

    def OnPaintInteractionStopped(self) -> None:  # noqa: N802  a slot of the base
        """Apply the stroke."""
        self._stroke.clear()
        self._last = None
        super().OnPaintInteractionStopped()

    def _PaintAtEventLocation(self, event_data: Any) -> bool:  # noqa: N802  of the base
        done = super()._PaintAtEventLocation(event_data)
        x, y = event_data.GetDisplayPosition()[:2]
        self._draw((float(x), float(y)))
        return done

    def _draw(self, position: Position) -> None:
        radius = self._params_radius()
        properties = self._effect.editor.get_segment_properties(self._effect.editor.active_segment_id)
        color = properties.color if properties is not None else (1.0, 1.0, 1.0)
        self._outline.clear()
        self._outline.color(color, 1.0)
        self._outline.add(position, radius)
        if self.widget.is_painting() and self._stroke.count < _MOST_DISCS:
            self._stroke.color(color, _STROKE_OPACITY)
            for center in _between(self._last, position, max(radius / 2, 1.0)):
                self._stroke.add(center, radius)
            self._last = position

    def _params_radius(self) -> float:
        """Return the radius of the brush in pixels."""
        return float(self._effect.get_brush_diameter()) / 2 / max(self.widget._get_view_mm_per_pix(), 1e-6)


class _Drawn:
    """What both tools have in common: slice views only, and no models in the scene."""

    def _create_pipeline(self, view_node: Any, _parameter: Any) -> BrushPipeline | None:
        return BrushPipeline() if isinstance(view_node, slicer.vtkMRMLSliceNode) else None

    def _refresh_model_nodes(self) -> None:
        """Make no models: the brush is drawn by its pipeline."""


class Paint(_Drawn, SegmentationEffectPaint):
    """Adds voxels to the chosen segment."""


class Erase(_Drawn, SegmentationEffectErase):
    """Takes voxels from the chosen segment."""


def _between(first: Position | None, last: Position, step: float) -> list[Position]:
    """Return positions from ``first`` (left out) to ``last``, at most ``step`` apart."""
    if first is None:
        return [last]
    count = max(1, math.ceil(math.dist(first, last) / step))
    return [tuple(a + (b - a) * n / count for a, b in zip(first, last)) for n in range(1, count + 1)]
