"""What the command line shows while it works, and how it words numbers."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from hlfd.cli import progress
from hlfd.cli.console import Console
from hlfd.cli.plain import columns, plain
from hlfd.errors import InputError
from hlfd.events import Metric, Progress, Stage, Warn
from hlfd.words import duration, nested, number


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_short_work_shows_warnings_only():
    err = io.StringIO()
    console = Console(io.StringIO(), err)
    console.case("a")
    for event in (Stage("refine"), Progress(1, 2, 3.0), Metric(1, {"loss": 0.5}), Warn("thick slices")):
        console.on_event(event)
    assert err.getvalue() == "a: warning: thick slices\n"


def test_without_a_terminal_long_work_shows_plain_lines_with_the_time_left(monkeypatch):
    monkeypatch.setattr(progress, "_FIRST_LINE_S", 0.0)
    err = io.StringIO()
    console = Console(io.StringIO(), err)
    console.case("case 2 of 9")
    console.on_event(Stage("refine"))
    for done in range(1, 50):
        console.on_event(Progress(done, 50, 200.0))
    assert err.getvalue() == "case 2 of 9 refine: 2 %, 3 min 20 s left\n"


def test_a_terminal_shows_a_bar_above_which_warnings_stay(monkeypatch):
    monkeypatch.setattr(progress, "_BAR_AFTER_S", 0.0)
    err = Terminal()
    console = Console(io.StringIO(), err)
    console.on_event(Stage("locate"))
    console.on_event(Progress(1, 4, 12.0))
    console.on_event(Warn("odd [spacing]"))
    console.close()
    assert "warning: odd [spacing]" in err.getvalue()


def test_json_silences_lines_and_prints_one_object():
    out = io.StringIO()
    console = Console(out, io.StringIO(), as_json=True)
    console.say("a line for people")
    console.result({"path": Path("a"), "value": np.float32(0.5), "nothing": math.nan})
    console.fail(InputError("late", "error"))
    assert json.loads(out.getvalue()) == {"path": "a", "value": 0.5, "nothing": None}


def test_values_become_plain_json():
    assert plain({1: (np.int64(2), np.array([1.5, np.inf])), "s": "x", "b": True, "n": None}) == {
        "1": [2, [1.5, None]],
        "s": "x",
        "b": True,
        "n": None,
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.123, "0.12 s"), (3.21, "3.2 s"), (9.97, "10 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_numbers_and_nested_facts_in_words():
    assert number(1.26) == "1.3"
    assert number(None) == number(math.nan) == "-"
    assert nested({"a": 0.123456, "b": {"c": [1, "x"]}, "d": None}) == "a: 0.1235; b: c: 1, x; d: "


def test_columns_align():
    assert columns([["name", "n"], ["a", "10"]]) == "name   n\na     10"
