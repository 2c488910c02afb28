"""The numbers of the feature viewer as a table of all layer pairs, and as bars of the one that is shown."""

from __future__ import annotations

import slicer

from HLFDSegmentLib.feature_layout import PLOT_VIEW, TABLE_VIEW
from HLFDSegmentLib.feature_maps import NUMBERS, TITLES, FeatureMaps
from HLFDSegmentLib.nodes import UnsavedNodes, number_column, text_column, write_columns

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
        self._nodes = UnsavedNodes(scene)

    def fill(self, maps: FeatureMaps) -> list[slicer.vtkMRMLNode]:
        """Write the numbers of all pairs into the table; return the nodes that are listed for the user."""
        table = self._nodes.get("table", "vtkMRMLTableNode", "Feature numbers")
        rows = [(pair, role) for pair in maps.pairs for role in maps.roles]
        columns = [
            text_column("Layer", [pair for pair, _ in rows]),
            text_column("Network", [TITLES[role] for _, role in rows]),
        ]
        columns += [number_column(HEADERS[name], [maps.number(*row, name) for row in rows]) for name in NUMBERS]
        write_columns(table, columns)
        self._chart(maps.roles)
        return [table, self._nodes["chart"]]

    def show(self, maps: FeatureMaps, pair: str) -> None:
        """Draw the numbers of one pair as bars, a colour per network."""
        names = [n for n in NUMBERS if len(maps.roles) > 1 or n.startswith("share")]
        known = {role: [maps.number(pair, role, name) for name in names] for role in maps.roles}
        columns = [text_column("Number", [_SHORT[name] for name in names])]
        # a bar needs a value: the teacher is wholly like itself
        columns += [
            number_column(TITLES[role], [1.0 if v != v else v for v in values]) for role, values in known.items()
        ]
        write_columns(self._nodes["bars"], columns)
        self._nodes["chart"].SetTitle(f"Layer {pair}")

    def _chart(self, roles: tuple[str, ...]) -> None:
        bars = self._nodes.get("bars", "vtkMRMLTableNode", "Feature bars")
        chart = self._nodes.get("chart", "vtkMRMLPlotChartNode", "Feature numbers of a layer")
        chart.RemoveAllPlotSeriesNodeIDs()
        for role in roles:
            series = self._nodes.get(f"series {role}", "vtkMRMLPlotSeriesNode", TITLES[role])
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
        self._nodes.remove()
