"""Signals call whoever is connected, in order."""

from __future__ import annotations

import pytest

from HLFDSegmentLib.signals import Signal


def test_slots_are_called_in_order_with_the_arguments():
    heard = []
    signal = Signal("number")
    signal.connect(lambda number: heard.append(("first", number)))
    signal.connect(lambda number: heard.append(("second", number)))
    signal.emit(3)
    assert heard == [("first", 3), ("second", 3)]


def test_a_slot_connected_twice_is_called_once():
    heard = []
    signal = Signal("text")
    signal.connect(heard.append)
    signal.connect(heard.append)
    signal.emit("a")
    assert heard == ["a"]


def test_a_slot_may_disconnect_itself_while_called():
    heard = []
    signal = Signal()

    def once():
        heard.append("once")
        signal.disconnect(once)

    signal.connect(once)
    signal.connect(lambda: heard.append("always"))
    signal.emit()
    signal.emit()
    assert heard == ["once", "always", "always"]


def test_disconnecting_a_stranger_changes_nothing():
    Signal("a").disconnect(print)


def test_a_wrong_number_of_arguments_is_an_error():
    with pytest.raises(TypeError, match="'volume', 'name'"):
        Signal("volume", "name").emit(1)
