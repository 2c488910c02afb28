"""A panel hears of segments that come, go or change, of the segmentation that it follows alone."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")

from HLFDTrainLib.segment_watch import SegmentWatch


@pytest.fixture
def heard() -> list[int]:
    return []


@pytest.fixture
def watch(heard) -> SegmentWatch:
    return SegmentWatch(lambda: heard.append(1))


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")


def changes(node, heard) -> int:
    """How often somebody hears of a segment that comes, gets a name and goes."""
    before = len(heard)
    segment_id = node.GetSegmentation().AddEmptySegment("one", "one")
    node.GetSegmentation().GetSegment(segment_id).SetName("tumor")
    node.GetSegmentation().RemoveSegment(segment_id)
    return len(heard) - before


def test_segments_that_come_change_and_go_are_heard(watch, node, heard):
    watch.follow(node)
    assert changes(node, heard) >= 3


def test_following_twice_hears_once(watch, node, heard):
    watch.follow(node)
    once = changes(node, heard)
    watch.follow(node)
    assert changes(node, heard) == once


def test_the_one_before_is_not_heard_any_more(watch, node, scene, heard):
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    watch.follow(node)
    watch.follow(other)
    assert changes(node, heard) == 0
    assert changes(other, heard) >= 3
    watch.follow(None)
    assert changes(other, heard) == 0
