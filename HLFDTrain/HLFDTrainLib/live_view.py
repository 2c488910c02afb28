"""The views of a training: two charts and the example slice, and the user's layout afterwards."""

from __future__ import annotations

import slicer

from HLFDTrainLib.curve_nodes import KINDS, CurveNodes
from HLFDTrainLib.sample_view import SampleView
from HLFDTrainLib.views import Views

SAMPLE = "HLFDTrainSample"
PLOTS = {kind: f"HLFDTrain{kind.capitalize()}" for kind in KINDS}
_LAYOUT = 473_910
_XML = (
    '<layout type="vertical" split="true"><item splitSize="550"><layout type="horizontal">'
    f'<item><view class="vtkMRMLSliceNode" singletontag="{SAMPLE}">'
    '<property name="orientation" action="default">Axial</property>'
    '<property name="viewlabel" action="default">E</property>'
    '<property name="viewcolor" action="default">#40a060</property>'
    '<property name="viewgroup" action="default">4739</property>'
    "</view></item>"
    f'<item><view class="vtkMRMLPlotViewNode" singletontag="{PLOTS["dice"]}">'
    '<property name="viewlabel" action="default">D</property></view></item></layout></item>'
    f'<item splitSize="450"><view class="vtkMRMLPlotViewNode" singletontag="{PLOTS["loss"]}">'
    '<property name="viewlabel" action="default">L</property></view></item></layout>'
)


class LiveView:
    """Shows ``curves`` and ``samples`` in views of their own."""

    def __init__(self, scene: slicer.vtkMRMLScene, curves: CurveNodes, samples: SampleView) -> None:
        self._views = Views(scene, _LAYOUT, _XML)
        self._curves, self._samples = curves, samples

    @property
    def entered(self) -> bool:
        """Whether the views are those of the training."""
        return self._views.entered

    def enter(self) -> None:
        """Show the views."""
        self._views.enter()
        self.update()

    def update(self) -> None:
        """Put what there is by now into the views; the charts follow by themselves."""
        if not self.entered:
            return
        for kind, tag in PLOTS.items():
            self._views.node(tag, "vtkMRMLPlotViewNode").SetPlotChartNodeID(self._curves.chart(kind).GetID())
        node = self._samples.node
        if node is not None:
            self._views.show_volume(SAMPLE, node)

    def leave(self) -> None:
        """Restore the layout that the user had."""
        self._views.leave()
