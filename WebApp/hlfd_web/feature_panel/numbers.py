"""How alike the networks are, layer by layer: rows of a table, and a chart over the layers."""

from __future__ import annotations

from typing import Any

from hlfd.words import number
from hlfd_web.charts import COLORS, Line, line_chart
from HLFDSegmentLib.feature_maps import NUMBERS, TITLES, FeatureMaps, Selection

HEADERS = ("Layer", "Network", "Cosine", "CKA", "In tumor", "In kidney", "In background")
_AGREEMENT = {"cosine": "cosine of attention", "cka": "CKA"}
_SHARES = {"share_tumor": "in tumor", "share_kidney": "in kidney", "share_background": "in background"}
_ROLE_COLORS = {"teacher": COLORS[1], "student": COLORS[0], "undistilled": COLORS[5], "base": COLORS[3]}


def number_rows(maps: FeatureMaps) -> list[dict[str, Any]]:
    """Return a row per layer pair and network: its pair, and the texts of its cells."""
    rows = []
    for pair in maps.pairs:
        for role in maps.roles:
            values = [number(maps.number(pair, role, name), 3) for name in NUMBERS]
            rows.append({"id": f"{pair} {role}", "pair": pair, "cells": [pair, TITLES[role], *values]})
    return rows


def channel_rows(maps: FeatureMaps, selection: Selection, search: str, most: int) -> tuple[list[dict[str, Any]], int]:
    """Return the channels whose network or number fits ``search``, the most selective first, and how many fit in all.

    At most ``most`` are returned: the page shows a list, not a thousand rows.
    """
    wanted = search.strip().lower()
    chosen = {role: maps.shown_channel(role, selection) for role in maps.roles}
    rows = [(role, *channel) for role in maps.roles for channel in maps.channels(selection.pair, role)]
    rows.sort(key=lambda row: -row[2])
    fitting = [row for row in rows if wanted in f"{TITLES[row[0]]} {row[1]}".lower()]
    shown = [
        {
            "id": f"{role} {channel}",
            "role": role,
            "channel": channel,
            "cells": [TITLES[role], str(channel), f"{selectivity:+.2f}"],
            "chosen": selection.kind == "channel" and chosen[role] == channel,
        }
        for role, channel, selectivity in fitting[:most]
    ]
    return shown, len(fitting)


def agreement_chart(maps: FeatureMaps, pair: str) -> str:
    """Return the chart of a student's likeness to the teacher over the layers; without a teacher, where it attends."""
    students = [role for role in maps.roles if role != "teacher"]
    position = float(maps.pairs.index(pair)) if pair in maps.pairs else None
    if "teacher" in maps.roles:
        lines = [
            _line(maps, role, name, f"{TITLES[role]}: {word}", _ROLE_COLORS[role], dashed=name == "cka")
            for role in students
            for name, word in _AGREEMENT.items()
        ]
        title = "Agreement with the teacher, by layer"
    else:
        colors = (COLORS[1], COLORS[0], COLORS[5])
        lines = [
            _line(maps, role, name, f"{TITLES[role]}: {word}", color, dashed=role != "student")
            for role in students
            for (name, word), color in zip(_SHARES.items(), colors)
        ]
        title = "Share of attention, by layer"
    return line_chart(title, lines, x_names=maps.pairs, y_range=(0.0, 1.0), marker=position)


def _line(maps: FeatureMaps, role: str, name: str, title: str, color: str, dashed: bool) -> Line:
    points = tuple((float(index), maps.number(pair, role, name)) for index, pair in enumerate(maps.pairs))
    return Line(title, points, color, marked=True, dashed=dashed)
