"""Text in a view: patient directions at the edges, a title, and a legend in the colours of the segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import vtk
from numpy.typing import NDArray

_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
_LIGHT = (0.92, 0.92, 0.92)


def direction_letter(direction: Sequence[float]) -> str:
    """Return the patient direction (R, L, A, P, S or I) that a vector in RAS points to most."""
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][0 if direction[axis] > 0 else 1]


class Annotator:
    """Writes into one renderer of ``size`` (width, height) pixels; the text grows with the picture."""

    def __init__(self, renderer: vtk.vtkRenderer, size: tuple[int, int]) -> None:
        self._renderer = renderer
        self._width, self._height = size
        self._font = max(10, round(min(size) / 42))
        self._margin = max(6, round(min(size) / 60))

    def directions(self, axes_ras: NDArray[np.float64]) -> None:
        """Write the patient directions at the four edges; ``axes_ras`` are the RAS vectors to the right and up."""
        right, up = axes_ras
        middle_x, middle_y = self._width // 2, self._height // 2
        self._text(direction_letter(-right), self._margin, middle_y, "left", "middle", bold=True)
        self._text(direction_letter(right), self._width - self._margin, middle_y, "right", "middle", bold=True)
        self._text(direction_letter(up), middle_x, self._height - self._margin, "center", "top", bold=True)
        above_ruler = self._margin + round(2.2 * self._font)
        self._text(direction_letter(-up), middle_x, above_ruler, "center", "bottom", bold=True)

    def title(self, left: str, right: str = "") -> None:
        """Write one text into the upper left and one into the upper right corner."""
        self._text(left, self._margin, self._height - self._margin, "left", "top")
        self._text(right, self._width - self._margin, self._height - self._margin, "right", "top")

    def legend(self, entries: Sequence[tuple[str, tuple[float, float, float]]]) -> None:
        """Write names with a square of their colour (0..1 RGB), first entry on top, in the lower left corner."""
        if not entries:
            return
        step = round(self._font * 1.5)
        longest = max(len(name) for name, _ in entries)
        width, height = round(self._font * (2.4 + 0.52 * longest)), step * len(entries) + self._margin
        self._box(self._margin // 2, self._margin // 2, width, height, (0.0, 0.0, 0.0), opacity=0.5)
        for row, (name, color) in enumerate(reversed(entries)):
            y = self._margin + row * step
            self._box(self._margin, y, self._font, self._font, color)
            self._text(name, self._margin + round(self._font * 1.6), y + self._font // 2, "left", "middle")

    def _text(self, text: str, x: int, y: int, horizontal: str, vertical: str, bold: bool = False) -> None:
        if not text:
            return
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        style = actor.GetTextProperty()
        style.SetFontFamilyToArial()
        style.SetFontSize(round(self._font * 1.25) if bold else self._font)
        style.SetBold(bold)
        style.SetShadow(True)
        style.SetColor(*_LIGHT)
        {"left": style.SetJustificationToLeft, "right": style.SetJustificationToRight}.get(
            horizontal, style.SetJustificationToCentered
        )()
        {"top": style.SetVerticalJustificationToTop, "bottom": style.SetVerticalJustificationToBottom}.get(
            vertical, style.SetVerticalJustificationToCentered
        )()
        actor.SetDisplayPosition(x, y)
        self._renderer.AddViewProp(actor)

    def _box(
        self, x: int, y: int, width: int, height: int, color: tuple[float, float, float], opacity: float = 1.0
    ) -> None:
        points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
        for corner in ((x, y), (x + width, y), (x + width, y + height), (x, y + height)):
            points.InsertNextPoint(*corner, 0.0)
        cells.InsertNextCell(4, [0, 1, 2, 3])
        box = vtk.vtkPolyData()
        box.SetPoints(points)
        box.SetPolys(cells)
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(box)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetColor(*color)
        actor.GetProperty().SetOpacity(opacity)
        self._renderer.AddViewProp(actor)
