"""What the panel keeps in the scene, and the widgets that show it."""

from __future__ import annotations

from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class SegmentParameters:
    """The settings of the panel; those without a widget of their own in the .ui file are set by the sections."""

    input_volume: vtkMRMLScalarVolumeNode
    output_segmentation: vtkMRMLSegmentationNode
    model: str = "kidney"
    device: str = "auto"
    show_surfaces: bool = True
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 1.0


def connect_widgets(parameters: SegmentParameters, ui: Any) -> int:
    """Tie the widgets with a property SlicerParameterName to the parameters; return the tag for ``disconnectGui``.

    ``connectGui`` does the same, but gives no tag in Slicer 5.8, where it could then not be undone.
    """
    named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    return int(parameters.connectParametersToGui({name: widget for name, widget in named.items() if name}))
