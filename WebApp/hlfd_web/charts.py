"""Line charts as SVG text: no library in the page, sharp at every size, in the colors of the page's theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLORS = ("#3278c8", "#c86432", "#3d9955", "#9a5fb5", "#b8992a", "#7a7a7a", "#cc4d80", "#339e9e")
_WIDTH, _HEIGHT = 340.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 38.0, 8.0, 24.0, 24.0
_LEGEND_ROW = 15.0
_TICKS = 4
_CHARACTER = 5.6  # width of one at the font size of the legend


@dataclass(frozen=True)
class Line:
    """One curve: its name, (x, y) points in the order of x, an RGB color, and whether its points are marked."""

    name: str
    points: tuple[tuple[float, float], ...]
    color: str
    marked: bool = False
    dashed: bool = False


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_names: Sequence[str] = (),
    y_range: tuple[float, float] | None = None,
    x_title: str = "",
    marker: float | None = None,
) -> str:
    """Return an ``<svg>`` of the lines; empty where there is nothing to draw.

    ``x_names`` are written at x = 0, 1, 2 ...; without them x is a number. ``y_range`` is that of the values by
    default. ``marker`` is an x at which a vertical line stands. Values that are not finite interrupt their line.
    """
    drawn = [line for line in lines if any(math.isfinite(y) for _x, y in line.points)]
    if not drawn:
        return ""
    frame = _Frame.around(drawn, x_names, y_range)
    legend, rows = _legend(drawn)
    height = _HEIGHT + rows * _LEGEND_ROW
    parts = [
        f'<text x="{_LEFT}" y="13" font-weight="600">{escape(title)}</text>',
        *_grid(frame),
        *_x_axis(frame, x_names, x_title),
        *([_vertical(frame, marker)] if marker is not None else []),
        *(_curve(frame, line) for line in drawn),
        *legend,
    ]
    said = escape(f"{title}. {_in_words(drawn)}", quote=True)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" width="100%" style="max-height: 100%" role="img" '
        f'aria-label="{said}" font-size="10" fill="currentColor" font-family="inherit">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class _Frame:
    """The ranges of both axes, and where they lie in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    @classmethod
    def around(cls, lines: Sequence[Line], x_names: Sequence[str], y_range: tuple[float, float] | None) -> _Frame:
        points = [point for line in lines for point in line.points if math.isfinite(point[1])]
        xs = [x for x, _y in points]
        ys = [y for _x, y in points]
        x = (0.0, float(max(len(x_names) - 1, 1))) if x_names else (min(xs), max(xs))
        y = y_range or (min(0.0, *ys), max(ys))
        return cls(_opened(x), _opened(y))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies in the picture."""
        inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * inner_width, _TOP + (1.0 - min(max(up, 0.0), 1.0)) * inner_height


def _opened(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    return (low, high) if high > low else (low, low + 1.0)


def _grid(frame: _Frame) -> list[str]:
    parts = []
    for number in range(_TICKS + 1):
        value = frame.y[0] + (frame.y[1] - frame.y[0]) * number / _TICKS
        left, height = frame.at(frame.x[0], value)
        parts.append(
            f'<line x1="{left:.1f}" x2="{_WIDTH - _RIGHT:.1f}" y1="{height:.1f}" y2="{height:.1f}" '
            'stroke="currentColor" stroke-opacity="0.18"/>'
            f'<text x="{left - 4:.1f}" y="{height + 3.5:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    return parts


def _x_axis(frame: _Frame, names: Sequence[str], title: str) -> list[str]:
    bottom = _HEIGHT - _BOTTOM + 13
    if names:
        step = max(1, math.ceil(len(names) / 12))
        places = [(float(index), name) for index, name in enumerate(names) if index % step == 0]
    else:
        places = [(x, _short(x)) for x in (frame.x[0], sum(frame.x) / 2, frame.x[1])]
    parts = []
    for number, (x, name) in enumerate(places):
        anchor = "start" if number == 0 else "end" if x >= frame.x[1] else "middle"
        left = frame.at(x, frame.y[0])[0]
        parts.append(f'<text x="{left:.1f}" y="{bottom:.1f}" text-anchor="{anchor}">{escape(name)}</text>')
    if title:
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="13" text-anchor="end" fill-opacity="0.75">{escape(title)}</text>')
    return parts


def _vertical(frame: _Frame, x: float) -> str:
    left = frame.at(x, frame.y[0])[0]
    return (
        f'<line x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="currentColor" '
        'stroke-opacity="0.55" stroke-dasharray="3 3"/>'
    )


def _curve(frame: _Frame, line: Line) -> str:
    commands, pen_up, dots = [], True, []
    for x, y in line.points:
        if not math.isfinite(y):
            pen_up = True
            continue
        left, top = frame.at(x, y)
        commands.append(f"{'M' if pen_up else 'L'}{left:.1f} {top:.1f}")
        pen_up = False
        if line.marked:
            dots.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="2.4" fill="{line.color}"/>')
    dash = ' stroke-dasharray="5 3"' if line.dashed else ""
    path = f'<path d="{" ".join(commands)}" fill="none" stroke="{line.color}" stroke-width="1.6"{dash}/>'
    return path + "".join(dots)


def _legend(lines: Sequence[Line]) -> tuple[list[str], int]:
    """Return the names below the chart, and in how many rows they stand."""
    parts, left, row = [], _LEFT, 0
    for line in lines:
        width = 20 + _CHARACTER * len(line.name)
        if left > _LEFT and left + width > _WIDTH - _RIGHT:
            left, row = _LEFT, row + 1
        top = _HEIGHT + row * _LEGEND_ROW + 6
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(
            f'<line x1="{left:.1f}" x2="{left + 12:.1f}" y1="{top - 3:.1f}" y2="{top - 3:.1f}" stroke="{line.color}" '
            f'stroke-width="2"{dash}/><text x="{left + 16:.1f}" y="{top:.1f}">{escape(line.name)}</text>'
        )
        left += width + 8
    return parts, row + 1


def _in_words(lines: Sequence[Line]) -> str:
    """Return the last value of each line, for those who do not see the picture."""
    known = [(line.name, next(y for _x, y in reversed(line.points) if math.isfinite(y))) for line in lines]
    return "Last values: " + ", ".join(f"{name} {_short(value)}" for name, value in known) + "."


def _short(value: float) -> str:
    if value == round(value) and abs(value) < 1e5:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"
