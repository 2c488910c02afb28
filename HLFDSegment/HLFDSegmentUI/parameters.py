"""What the panel keeps in the scene, and the widgets that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class SegmentParameters:
    """The settings of the panel; those without a widget of their own in the .ui file are set by the sections."""

    input_volume: vtkMRMLScalarVolumeNode
    output_segmentation: vtkMRMLSegmentationNode
    model: str = "kidney"
    device: str = "auto"
    mark_doubtful: bool = False
    show_surfaces: bool = True
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 1.0


class Connection:
    """Ties the widgets with a property SlicerParameterName to the parameters, until ``close()``.

    ``connectGui`` does the first half, but Slicer before 5.12 neither returns what undoes it nor removes its observer.
    An observer that is left behind is not only called for nothing: once Python has collected the parameters it was
    made for, the next change of the node crashes the application.
    """

    def __init__(self, parameters: SegmentParameters, ui: Any, on_change: Callable[[Any, Any], None]) -> None:
        self.parameters = parameters
        self._observers: list[int] = []
        self._add = parameters.AddObserver
        parameters.AddObserver = self._add_and_remember
        named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
        self._gui = parameters.connectParametersToGui({name: widget for name, widget in named.items() if name})
        parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, on_change)

    def close(self) -> None:
        """Part widgets and parameters."""
        self.parameters.disconnectGui(self._gui)
        for tag in self._observers:
            self.parameters.RemoveObserver(tag)

    def _add_and_remember(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        tag = int(self._add(event, callback, priority))
        self._observers.append(tag)
        return tag
