"""Progress is counted, timed and cancellable."""

from __future__ import annotations

import json

import pytest

from hlfd.errors import CancelledError
from hlfd.events import CancelToken, Metric, Progress, ProgressClock, Stage, Warn, event_to_dict, ignore


@pytest.mark.parametrize(
    ("event", "plain"),
    [
        (Stage("locate"), {"event": "stage", "name": "locate"}),
        (Progress(1, 4, 2.5), {"event": "progress", "done": 1, "total": 4, "seconds_left": 2.5}),
        (Metric(3, {"dice": 0.5}), {"event": "metric", "step": 3, "values": {"dice": 0.5}}),
        (Warn("thick"), {"event": "warn", "message": "thick"}),
    ],
)
def test_events_become_json_lines(event, plain):
    assert event_to_dict(event) == plain
    assert json.loads(json.dumps(event_to_dict(event))) == plain
    assert ignore(event) is None


def test_the_clock_counts_up_to_its_total_and_estimates_the_rest():
    events = []
    clock = ProgressClock(4, events.append)
    for _ in range(5):
        clock.advance()
    assert [event.done for event in events] == [1, 2, 3, 4, 4]
    assert all(event.total == 4 for event in events)
    assert events[0].seconds_left >= 0
    assert events[-1].seconds_left == 0


def test_cancelling_stops_the_work_at_its_next_check():
    token = CancelToken()
    clock = ProgressClock(2, cancel=token)
    clock.advance()
    assert not token.cancelled
    token.check()
    token.cancel()
    assert token.cancelled
    with pytest.raises(CancelledError):
        clock.advance()
    with pytest.raises(CancelledError):
        token.check()
