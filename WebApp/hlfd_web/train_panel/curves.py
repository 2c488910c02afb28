"""The curves and the example slice of a training, as pictures for the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from hlfd_web.charts import COLORS, Line, line_chart
from HLFDTrainLib.curve_nodes import CurveNodes

_TITLES = {"loss": "Training loss", "dice": "Dice on validation cases"}
_MOST_POINTS = 300
_FEW = 3  # points that make no line yet


def curve_chart(curves: CurveNodes, kind: str) -> str:
    """Return the chart of ``loss`` or ``dice`` as SVG; empty where there are no numbers yet."""
    lines = []
    for index, name in enumerate(curves.names(kind)):
        points = _thinned(curves.values(kind, name))
        color = COLORS[index % len(COLORS)]
        lines.append(
            Line(_label(name), tuple((float(x), y) for x, y in points), color, kind == "dice" or len(points) < _FEW)
        )
    y_range = (0.0, 1.0) if kind == "dice" else None
    return line_chart(_TITLES[kind], lines, y_range=y_range, x_title="step")


def picture_url(picture: NDArray[np.uint8] | None) -> str:
    """Return an RGB picture (rows, columns, 3) as a ``data:`` URL; empty for None."""
    if picture is None:
        return ""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most ``_MOST_POINTS`` of the points, the last among them: a curve has no more pixels."""
    step = max(1, -(-len(points) // _MOST_POINTS))
    return points[:-1:step] + points[-1:]


def _label(name: str) -> str:
    """Return what the legend shows: "dice/tumor" is "Tumor", "dice" is "Mean", "loss" is "Total"."""
    kind, _, rest = name.partition("/")
    if not rest:
        return {"dice": "Mean", "loss": "Total"}[kind]
    return rest.replace("_", " ") if kind == "loss" else rest.replace("_", " ").capitalize()
