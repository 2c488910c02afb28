"""The context that all panels of a session share."""

from __future__ import annotations

import time

from hlfd.errors import CancelledError, InputError


def test_a_volume_that_is_shown_lies_in_the_three_slice_views(context, ct_node):
    assert [view.get_background_volume_id() for view in context.views.slice_views()] == [ct_node.GetID()] * 3


def test_showing_another_volume_tells_whoever_listens(context, ct_node):
    heard = []
    context.on_change.connect(lambda: heard.append(context.volume_node))
    context.show_volume(None)
    assert heard == [None]


def test_only_one_segmentation_is_visible(context):
    first, second = (context.scene.AddNewNodeByClass("vtkMRMLSegmentationNode") for _ in range(2))
    context.show_segmentation(first)
    context.show_segmentation(second)
    assert [node.GetDisplayNode().GetVisibility() for node in (first, second)] == [0, 1]


def test_what_asked_to_be_polled_is_polled_until_it_says_no_more(context):
    calls = []
    poll = lambda: calls.append(1)  # noqa: E731  one object, to be named twice
    context.every(poll)
    context.tick()
    context.no_more(poll)
    context.tick()
    assert calls == [1]


def test_an_error_while_polling_is_shown_and_the_others_are_polled_all_the_same(context):
    calls = []

    def fail():
        raise InputError("The file is empty.", "Choose another one.")

    context.every(fail)
    context.every(lambda: calls.append(1))
    context.tick()
    assert calls == [1]
    assert context.state.notices[0]["text"] == "The file is empty."
    assert context.state.notices[0]["remedy"] == "Choose another one."


def test_a_notice_that_repeats_is_shown_once_and_can_be_closed(context):
    context.notices.show("The disk is full.", "error")
    context.notices.show("The disk is full.", "error")
    (notice,) = context.state.notices
    context.notices.close(notice["id"])
    assert context.state.notices == []


def test_cancelling_is_no_error(context):
    context.notices.show(CancelledError("Cancelled by the user."))
    assert context.state.notices == []


def test_news_go_by_themselves_and_errors_stay(context, monkeypatch):
    context.notices.show("Added: a case.", "success")
    context.notices.show("The disk is full.", "error")
    context.notices.expire()
    assert len(context.state.notices) == 2
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    context.notices.expire()
    assert [notice["text"] for notice in context.state.notices] == ["The disk is full."]
    context.notices.close(context.state.notices[0]["id"])
