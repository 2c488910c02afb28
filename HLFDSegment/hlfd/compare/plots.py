"""The plots of the report as SVG text, without a plotting library; colours are the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """A row of a forest plot; ``verdict`` is 1, 0 or -1 (interval above, around, below 0)."""

    label: str
    mean: float
    low: float
    high: float
    verdict: int


@dataclass(frozen=True)
class Panel:
    """One small plot of curves: the own ones over the reference's."""

    label: str
    own: Points
    reference: Points


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{chosen}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers within low..high, about ``count`` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def forest(rows: Sequence[Interval], title: str) -> str:
    """Return means with intervals, one row each, about a line at 0."""
    low = min(0.0, *(row.low for row in rows))
    high = max(0.0, *(row.high for row in rows))
    pad = 0.04 * (high - low or 1.0)
    low, high = low - pad, high + pad
    left, width, step = 190.0, 720.0, 22.0
    bottom = 14 + step * len(rows)
    x = _scale(low, high, left, width - 16)
    parts = []
    for tick in ticks(low, high):
        parts += [
            _line(x(tick), 8, x(tick), bottom, "grid"),
            _text(x(tick), bottom + 18, f"{tick:+g}" if tick else "0", "middle"),
        ]
    parts.append(_line(x(0), 8, x(0), bottom, "zero"))
    for place, row in enumerate(rows):
        y = 14 + step * (place + 0.5)
        kind = {1: "better", 0: "open", -1: "worse"}[row.verdict]
        parts += [
            _text(left - 12, y + 4, row.label, "end"),
            _line(x(row.low), y, x(row.high), y, f"{kind} interval"),
            f'<circle cx="{x(row.mean):.1f}" cy="{y:.1f}" r="4.5" class="{kind}">'
            f"<title>{escape(row.label)}: {row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]</title></circle>",
        ]
    return _svg(width, bottom + 26, title, parts)


def curves(panels: Sequence[Panel], title: str, columns: int = 4) -> str:
    """Return small plots with common axes: each method's curve over that of the reference."""
    every = [point for panel in panels for point in (*panel.own, *panel.reference)]
    steps, values = [p[0] for p in every] or [0.0], [p[1] for p in every] or [0.0]
    size, gap, top = (170.0, 96.0), 30.0, 18.0
    count = -(-len(panels) // columns)
    highest = max(values) * 1.05 or 1.0
    parts = []
    for place, panel in enumerate(panels):
        x0 = 28 + (place % columns) * (size[0] + 12)
        y0 = top + (place // columns) * (size[1] + gap)
        x, y = _scale(0, max(steps), x0, x0 + size[0]), _scale(0, highest, y0 + size[1], y0)
        for tick in ticks(0, highest, 3):
            parts.append(_line(x0, y(tick), x0 + size[0], y(tick), "grid"))
            if place % columns == 0:
                parts.append(_text(x0 - 4, y(tick) + 3, f"{tick:g}", "end", "tiny"))
        parts += [
            _text(x0, y0 - 5, panel.label, "start", "small"),
            _polyline(panel.reference, x, y, "reference"),
            _polyline(panel.own, x, y, "own"),
            _text(x0 + size[0], y0 + size[1] + 11, f"{max(steps):g} steps", "end", "tiny"),
        ]
    return _svg(28 + columns * (size[0] + 12), top + count * (size[1] + gap), title, parts)


def _polyline(points: Points, x: Callable[[float], float], y: Callable[[float], float], kind: str) -> str:
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return f'<polyline points="{path}" class="{kind}"/>' if points else ""


def scatter(points: Sequence[tuple[str, float, float]], title: str, x_name: str, y_name: str) -> str:
    """Return labelled points (label, x, y)."""
    width, height, left, bottom = 720.0, 330.0, 56.0, 288.0
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    pad = 0.08 * (max(ys) - min(ys) or 0.1)
    x = _scale(0, max(xs) * 1.18, left, width - 8)
    y = _scale(min(ys) - pad, max(ys) + pad, bottom, 12)
    parts = []
    for tick in ticks(min(ys) - pad, max(ys) + pad):
        parts += [_line(left, y(tick), width - 8, y(tick), "grid"), _text(left - 6, y(tick) + 4, f"{tick:g}", "end")]
    for tick in ticks(0, max(xs) * 1.18):
        parts += [_line(x(tick), 12, x(tick), bottom, "grid"), _text(x(tick), bottom + 16, f"{tick:g}", "middle")]
    taken: list[tuple[float, float]] = []
    for label, a, b in sorted(points, key=lambda p: -p[2]):
        height_of_label = _free(x(a), y(b) + 4, taken)
        parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" class="open"/>')
        parts.append(_text(x(a) + 7, height_of_label, label, "start", "small"))
    parts += [_text(width - 8, bottom + 34, x_name, "end", "small"), _text(left, 9, y_name, "start", "small")]
    return _svg(width, height, title, parts)


def _free(x: float, y: float, taken: list[tuple[float, float]]) -> float:
    """Return a height near y at which a label does not cover an earlier one."""
    while any(abs(x - other_x) < 110 and abs(y - other_y) < 11 for other_x, other_y in taken):
        y += 3
    taken.append((x, y))
    return y


def heat(rows: Sequence[tuple[str, Sequence[float]]], columns: Sequence[str], title: str) -> str:
    """Return a grid of signed differences, one row per method and one column per case: accent above 0, red below."""
    limit = max((abs(value) for _, values in rows for value in values), default=1.0) or 1.0
    left, cell, height = 190.0, min(34.0, 530.0 / max(len(columns), 1)), 20.0
    parts = [_text(left + (i + 0.5) * cell, 12, name, "middle", "tiny") for i, name in enumerate(columns)]
    for place, (label, values) in enumerate(rows):
        y = 18 + place * height
        parts.append(_text(left - 12, y + 14, label, "end"))
        for i, value in enumerate(values):
            kind, strength = ("gain" if value > 0 else "loss"), abs(value) / limit
            parts.append(
                f'<rect x="{left + i * cell:.1f}" y="{y:.1f}" width="{cell - 1.5:.1f}" height="{height - 1.5:.1f}" '
                f'class="{kind}" fill-opacity="{strength:.2f}"><title>{escape(label)}, {escape(columns[i])}: '
                f"{value:+.3f}</title></rect>"
            )
    return _svg(left + len(columns) * cell + 8, 24 + len(rows) * height, title, parts)
