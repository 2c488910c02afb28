"""The curves of a training: loss terms and validation Dice as table, series and chart nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import slicer

from HLFDSegmentLib.nodes import UnsavedNodes, number_column, write_columns

KINDS = ("loss", "dice")
_TITLES = {"loss": "Training loss", "dice": "Dice on validation cases"}
_COLOURS = (
    *((0.20, 0.47, 0.78), (0.78, 0.39, 0.20), (0.24, 0.60, 0.33), (0.58, 0.36, 0.70), (0.72, 0.60, 0.15)),
    *((0.35, 0.35, 0.35), (0.80, 0.30, 0.50), (0.20, 0.62, 0.62)),
)


class CurveNodes:
    """Two charts in ``scene``, made when the first numbers come; none is saved with the scene."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._nodes = UnsavedNodes(scene)
        self._curves: dict[str, dict[int, dict[str, float]]] = {kind: {} for kind in KINDS}

    def chart(self, kind: str) -> slicer.vtkMRMLPlotChartNode:
        """Return the chart of ``loss`` or ``dice``."""
        node = self._nodes.get(f"{kind} chart", "vtkMRMLPlotChartNode", _TITLES[kind])
        if not node.GetTitle():
            node.SetTitle(_TITLES[kind])
            node.SetXAxisTitle("Step")
            node.SetYAxisTitle("Dice" if kind == "dice" else "Loss")
            node.SetLegendVisibility(True)
            if kind == "dice":
                node.SetYAxisRangeAuto(False)
                node.SetYAxisRange(0.0, 1.0)
        return node

    def values(self, kind: str, name: str) -> list[tuple[int, float]]:
        """Return one curve as (step, value), for tests and tool tips."""
        return [(step, row[name]) for step, row in sorted(self._curves[kind].items()) if name in row]

    def names(self, kind: str) -> list[str]:
        """Return the names of the curves, in the order in which they came."""
        return list(dict.fromkeys(name for _, row in sorted(self._curves[kind].items()) for name in row))

    def add(self, metrics: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add numbers of steps; a step that a resumed run does again replaces the old one."""
        changed = set()
        for step, values in metrics:
            for name, value in values.items():
                kind = name.partition("/")[0]
                if kind in KINDS and value == value:
                    self._curves[kind].setdefault(step, {})[name] = float(value)
                    changed.add(kind)
        for kind in changed:
            self._draw(kind)

    def clear(self) -> None:
        """Forget all numbers and take the nodes out of the scene."""
        self._curves = {kind: {} for kind in KINDS}
        self._nodes.remove()

    def _draw(self, kind: str) -> None:
        chart = self.chart(kind)
        for number, name in enumerate(self.names(kind)):
            table = self._nodes.get(f"table {name}", "vtkMRMLTableNode", f"{_TITLES[kind]}: {_label(name)}")
            points = self.values(kind, name)
            write_columns(
                table,
                [number_column("Step", [step for step, _ in points]), number_column("Value", [v for _, v in points])],
            )
            key = f"series {name}"
            is_new = key not in self._nodes
            series = self._nodes.get(key, "vtkMRMLPlotSeriesNode", _label(name))
            if is_new:
                series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
                series.SetAndObserveTableNodeID(table.GetID())
                series.SetXColumnName("Step")
                series.SetYColumnName("Value")
                series.SetMarkerStyle(
                    slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle
                    if kind == "dice"
                    else slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone
                )
                series.SetColor(*_COLOURS[number % len(_COLOURS)])
                chart.AddAndObservePlotSeriesNodeID(series.GetID())


def _label(name: str) -> str:
    """Return what the legend shows: "dice/tumor" is "Tumor", "dice" is "Mean", "loss" is "Total"."""
    kind, _, rest = name.partition("/")
    if not rest:
        return {"dice": "Mean", "loss": "Total"}[kind]
    return rest.replace("_", " ") if kind == "loss" else rest.replace("_", " ").capitalize()
