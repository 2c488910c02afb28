"""Segmenting in the browser: the run, its place in the line, its result on the page and on disk."""

from __future__ import annotations

import json

import pytest

from hlfd.io import read_label_map
from hlfd_web.device_queue import DeviceQueue
from HLFDSegmentLib.display import jump_to
from HLFDSegmentLib.lesion_rows import lesion_rows


@pytest.fixture
def segment(panels):
    return panels["segment"]


@pytest.fixture
def sample(panels, context, wait_until):
    """The sample CT, open."""
    panels["open"].open_sample()
    wait_until(lambda: context.volume_node is not None)
    return context.volume_node


@pytest.fixture
def line(data_root):
    return DeviceQueue(data_root.hidden / "queue", "cpu")


def flush(context, **values):
    with context.state:
        context.state.update(values)


def texts(context):
    return [notice["text"] for notice in context.state.notices]


def test_without_a_ct_the_button_waits_and_says_so(segment, context):
    assert context.state.seg_has_volume is False
    segment.run()
    assert texts(context) == ["No CT is open."]
    assert context.state.seg_running is False


def test_the_bundled_model_is_chosen_and_says_what_it_is_not_for(segment, context):
    assert context.state.seg_model.startswith("kidney/")
    assert context.state.seg_task == "kidney tumor"
    assert "not for clinical use" in context.state.seg_notice


def test_a_page_can_name_installed_models_only(segment, context, ct_node):
    for model in ("/etc", "../../x", "", "kidney", None):
        flush(context, seg_model=model)
        segment.run()
        assert context.state.seg_running is False
        (notice,) = context.state.notices
        assert notice["kind"] == "error"
        context.notices.close(notice["id"])


@pytest.mark.parametrize(("ticked", "limit"), [(False, None), (True, 0.0), ("yes", None), (None, None)])
def test_doubtful_masses_are_marked_only_where_that_was_ticked(segment, context, ct_node, line, ticked, limit):
    other = line.enter()
    flush(context, seg_doubtful=ticked)
    segment.run()
    assert segment.logic.engine.settings.min_confidence == limit
    segment.cancel()
    other.release()


def test_a_job_of_another_session_is_waited_for_and_the_line_can_be_left(segment, context, ct_node, line):
    other = line.enter()
    segment.run()
    assert context.state.seg_stage == "Waiting: one job is ahead on this device"
    segment.cancel()
    assert (context.state.seg_running, context.state.seg_done) == (False, "Cancelled.")
    other.release()
    assert line.length() == 0


def test_the_sample_is_segmented_shown_measured_and_kept(segment, panels, context, sample, wait_until, line, data_root):
    flush(context, seg_device="cpu")
    segment.run()
    wait_until(lambda: context.state.seg_running is False, 300)
    assert texts(context) == []
    assert line.length() == 0
    check_page(context)
    check_display(segment, context)
    check_jump(segment, context)
    wait_until(lambda: bool(context.state.seg_saved), 60)
    folder = data_root.resolve(context.state.seg_saved)
    assert json.loads((folder / "result.json").read_text())["source"] == "sample"
    assert read_label_map(folder / "segmentation.seg.nrrd").array.any()
    check_download(segment, context, wait_until)
    check_stored(panels, context, wait_until)


def check_page(context):
    state = context.state
    assert state.seg_done.startswith("Done in")
    assert len(state.seg_lesions) > 0
    assert [row[0] for row in state.seg_structures][:2] == ["left kidney", "kidney tumor"]
    assert "Demonstration" in state.view_notice
    assert state.seg_facts[0].startswith("Model kidney")


def check_display(segment, context):
    node, display = context.segmentation_node, context.segmentation_node.GetDisplayNode()
    key = context.state.seg_segments[0]["id"]
    segment.results.set_segment(key, False)
    assert not display.GetSegmentVisibility(key)
    assert context.state.seg_segments[0]["shown"] is False
    flush(context, seg_opacity=0.4, seg_outline=True, seg_surfaces=False)
    assert display.GetOpacity() == pytest.approx(0.4)
    assert display.GetOpacity2DFill() == 0.0
    assert not display.GetVisibility3D()
    flush(context, seg_opacity="dense", seg_surfaces=True)
    assert display.GetOpacity() == 1.0
    assert node.GetClosedSurfaceInternalRepresentation(context.state.seg_segments[1]["id"]) is not None


def check_jump(segment, context):
    jump_to(context.scene, (0.0, 0.0, 0.0))
    segment.results.go_to(0)
    (lesion, *_) = lesion_rows(context.scene, context.segmentation_node)
    for tag in ("Yellow", "Green", "Red"):
        matrix = context.views.view(tag).get_view_node().GetSliceToRAS()
        assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx(lesion.position, abs=0.01)
    assert context.state.seg_row == 0
    segment.results.go_to(10_000)
    assert context.state.seg_row == 0


def check_download(segment, context, wait_until):
    segment.results.download("csv")
    assert context.state.download["name"].endswith(".csv")
    segment.results.download("labels")
    wait_until(lambda: context.state.download["name"].endswith(".seg.nrrd"))
    path = context.folder / "downloads" / context.state.download["name"]
    assert {label.name for label in read_label_map(path).labels} >= {"left kidney", "kidney tumor"}


def check_stored(panels, context, wait_until):
    """The result comes back as in a session that starts after the server was restarted."""
    rows = context.state.seg_lesions
    panels["open"].close_volume(context.volume_node.GetID())
    assert (context.state.seg_lesions, context.state.seg_has_result) == ([], False)
    panels["open"].show_results()
    panels["open"].open_result(context.state.open_results[0]["folder"])
    wait_until(lambda: context.state.seg_has_result)
    assert context.state.seg_lesions == rows
    assert context.state.panel == "segment"


def test_a_run_can_be_cancelled_and_leaves_nothing(segment, context, sample, wait_until, line):
    segment.run()
    wait_until(lambda: segment.logic.state.value == "running")
    segment.cancel()
    wait_until(lambda: context.state.seg_running is False, 30)
    assert context.segmentation_node is None
    assert line.length() == 0
