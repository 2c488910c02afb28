"""The plots of a comparison are well-formed SVG that says what it should."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from hlfd.compare.plots import Interval, Panel, curves, forest, heat, scatter, ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.05, 0.11, [-0.05, 0.0, 0.05, 0.1]),
        (0, 130, [0, 50, 100]),
        (0.3, 0.3, [0.3]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_forest_plot_colours_rows_by_their_interval():
    rows = [
        Interval("a <b>", 0.1, 0.05, 0.15, 1),
        Interval("c", 0.0, -0.1, 0.1, 0),
        Interval("d", -0.2, -0.3, -0.1, -1),
    ]
    root = ElementTree.fromstring(forest(rows, "differences"))
    circles = root.findall(f"{SVG}circle")
    assert [circle.get("class") for circle in circles] == ["better", "open", "worse"]
    places = [float(circle.get("cx")) for circle in circles]
    assert places[0] > places[1] > places[2]
    assert "a <b>" in [text.text for text in root.findall(f"{SVG}text")]


def test_the_line_at_zero_lies_where_a_difference_of_zero_is_drawn():
    root = ElementTree.fromstring(forest([Interval("a", 0.0, -0.1, 0.3, 0)], "differences"))
    zero = next(line for line in root.findall(f"{SVG}line") if line.get("class") == "zero")
    assert float(zero.get("x1")) == pytest.approx(float(root.find(f"{SVG}circle").get("cx")), abs=0.2)


def test_curves_have_one_panel_per_method_over_the_reference():
    line = [(100.0, 0.1), (200.0, 0.4)]
    root = ElementTree.fromstring(curves([Panel("a", line, line), Panel("b", line, [])], "curves"))
    assert [line.get("class") for line in root.findall(f"{SVG}polyline")] == ["reference", "own", "own"]


def test_labels_of_close_points_do_not_cover_each_other():
    root = ElementTree.fromstring(scatter([("a", 100.0, 0.5), ("b", 101.0, 0.501), ("c", 99.0, 0.499)], "t", "x", "y"))
    labels = {text.text: float(text.get("y")) for text in root.findall(f"{SVG}text") if text.text in ("a", "b", "c")}
    heights = sorted(labels.values())
    assert min(b - a for a, b in zip(heights, heights[1:])) >= 10


def test_a_heat_map_has_one_field_per_case_with_its_number():
    root = ElementTree.fromstring(heat([("a", [0.1, -0.2]), ("b", [0.0, 0.05])], ["1", "2"], "cases"))
    fields = root.findall(f"{SVG}rect")
    assert [field.get("class") for field in fields] == ["gain", "loss", "loss", "gain"]
    assert float(fields[1].get("fill-opacity")) == 1
    assert "-0.200" in fields[1].find(f"{SVG}title").text
