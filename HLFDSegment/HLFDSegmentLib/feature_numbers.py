"""The numbers of the feature viewer as a table of all layer pairs, and as bars of the one that is shown."""

from __future__ import annotations

import slicer
import vtk

from HLFDSegmentLib.feature_layout import PLOT_VIEW, TABLE_VIEW
from HLFDSegmentLib.feature_maps import NUMBERS, TITLES, FeatureMaps
from HLFDSegmentLib.nodes import remove_nodes

HEADERS = {
    "cosine": "Cosine of attention to the teacher's",
    "cka": "Linear CKA with the teacher",
    "share_tumor": "Attention in tumor",
    "share_kidney": "Attention in kidney",
    "share_background": "Attention in background",
}
_SHORT = {
    "cosine": "Cosine",
    "cka": "CKA",
    "share_tumor": "In tumor",
    "share_kidney": "In kidney",
    "share_background": "In background",
}
_COLOURS = {
    "teacher": (0.78, 0.39, 0.20),
    "student": (0.20, 0.47, 0.78),
    "undistilled": (0.55, 0.55, 0.55),
    "base": (0.54, 0.42, 0.69),
}


class FeatureNumbers:
    """Makes table, chart and series nodes in ``scene`` when first needed; none is saved with the scene."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._nodes: dict[str, slicer.vtkMRMLNode] = {}

    def fill(self, maps: FeatureMaps) -> list[slicer.vtkMRMLNode]:
        """Write the numbers of all pairs into the table; return the nodes that are listed for the user."""
        table = self._node("table", "vtkMRMLTableNode", "Feature numbers")
        rows = [(pair, role) for pair in maps.pairs for role in maps.roles]
        columns = [_texts("Layer", [pair for pair, _ in rows]), _texts("Network", [TITLES[role] for _, role in rows])]
        columns += [_values(HEADERS[name], [maps.number(*row, name) for row in rows]) for name in NUMBERS]
        _write(table, columns)
        self._chart(maps.roles)
        return [table, self._nodes["chart"]]

    def show(self, maps: FeatureMaps, pair: str) -> None:
        """Draw the numbers of one pair as bars, a colour per network."""
        names = [n for n in NUMBERS if len(maps.roles) > 1 or n.startswith("share")]
        known = {role: [maps.number(pair, role, name) for name in names] for role in maps.roles}
        columns = [_texts("Number", [_SHORT[name] for name in names])]
        # a bar needs a value: the teacher is wholly like itself
        columns += [_values(TITLES[role], [1.0 if v != v else v for v in values]) for role, values in known.items()]
        _write(self._nodes["bars"], columns)
        self._nodes["chart"].SetTitle(f"Layer {pair}")

    def _chart(self, roles: tuple[str, ...]) -> None:
        bars = self._node("bars", "vtkMRMLTableNode", "Feature bars")
        chart = self._node("chart", "vtkMRMLPlotChartNode", "Feature numbers of a layer")
        chart.RemoveAllPlotSeriesNodeIDs()
        for role in roles:
            series = self._node(f"series {role}", "vtkMRMLPlotSeriesNode", TITLES[role])
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
            series.SetAndObserveTableNodeID(bars.GetID())
            series.SetLabelColumnName("Number")
            series.SetYColumnName(TITLES[role])
            series.SetColor(*_COLOURS[role])
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0.0, 1.0)
        chart.SetLegendVisibility(True)
        for kind, tag, setter, node in (
            ("vtkMRMLPlotViewNode", PLOT_VIEW, "SetPlotChartNodeID", chart),
            ("vtkMRMLTableViewNode", TABLE_VIEW, "SetTableNodeID", self._nodes["table"]),
        ):
            view = self._scene.GetSingletonNode(tag, kind)
            if view is not None:
                getattr(view, setter)(node.GetID())

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        remove_nodes(self._scene, *self._nodes.values())
        self._nodes.clear()

    def _node(self, key: str, kind: str, name: str) -> slicer.vtkMRMLNode:
        node = self._nodes.get(key)
        if node is None or node.GetScene() is not self._scene:
            node = self._scene.AddNewNodeByClass(kind, name)
            node.SetSaveWithScene(False)
            self._nodes[key] = node
        return node


def _texts(title: str, texts: list[str]) -> vtk.vtkAbstractArray:
    array = vtk.vtkStringArray()
    array.SetName(title)
    for text in texts:
        array.InsertNextValue(text)
    return array


def _values(title: str, values: list[float]) -> vtk.vtkAbstractArray:
    array = vtk.vtkDoubleArray()
    array.SetName(title)
    for value in values:
        array.InsertNextValue(value)
    return array


def _write(table: slicer.vtkMRMLTableNode, columns: list[vtk.vtkAbstractArray]) -> None:
    was_modifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for column in columns:
            table.AddColumn(column)
        table.SetLocked(True)
    finally:
        table.EndModify(was_modifying)
