"""A person corrects a segmentation: paints and erases in a slice view, takes it back, and sees what changed."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: pip install 'hlfd[slicer]'")

LABEL = "kidney tumor"


@pytest.fixture
def labels(ct_node):
    """A kidney with a tumor in the block of the CT."""
    import slicer

    from hlfd.labels import KIDNEY_LABELS
    from hlfd.volume import LabelMap
    from HLFDSegmentLib.volumes import node_affine

    array = np.zeros(slicer.util.arrayFromVolume(ct_node).shape, np.uint8)
    values = {label.name: label.value for label in KIDNEY_LABELS}
    array[5:14, 8:16, 8:20] = values["left kidney"]
    array[7:10, 10:13, 10:14] = values[LABEL]
    return LabelMap(array, node_affine(ct_node), KIDNEY_LABELS)


@pytest.fixture
def segmentation(context, ct_node, labels):
    from HLFDSegmentLib.edits import remember_segments
    from HLFDSegmentLib.segmentations import add_closed_surfaces, segmentation_from_label_map

    node = segmentation_from_label_map(context.scene, labels, ct_node)
    add_closed_surfaces(node)
    remember_segments(node)
    context.show_segmentation(node)
    return node


@pytest.fixture
def panel(context, segmentation):
    from hlfd_web.edit_panel import EditPanel

    made = EditPanel(context)
    context.panels["edit"] = made
    made.enter()
    return made


def set_state(context, **values) -> None:
    with context.state as state:
        for name, value in values.items():
            state[f"edit_{name}"] = value


def drag(context, tag: str, *points: tuple[float, float]) -> None:
    """Press, drag and release in a view as the page tells it; points are shares of its width and height."""
    from vtkmodules.vtkWebCore import vtkRemoteInteractionAdapter

    view = context.views.view(tag)
    view.update_size(200, 200)
    view.interactor().InvokeEvent("WindowResizeEvent")
    view.fit_view_to_content()
    common = {"button": 0, "shiftKey": 0, "ctrlKey": 0, "altKey": 0, "spinY": 0}
    kinds = ["MouseMove", "LeftButtonPress", *["MouseMove"] * len(points), "LeftButtonRelease"]
    for kind, (x, y) in zip(kinds, [points[0], points[0], *points, points[-1]]):
        event = {"type": kind, "x": x * 200, "y": y * 200, "w": 200, "h": 200, "position": {"x": x * 200, "y": y * 200}}
        vtkRemoteInteractionAdapter.ProcessEvent(view.interactor(), json.dumps({**event, **common}))


def voxels(node) -> dict[str, int]:
    from hlfd_web.edit_panel.layers import layers_of

    segmentation = node.GetSegmentation()
    found = {segmentation.GetNthSegment(n).GetName(): 0 for n in range(segmentation.GetNumberOfSegments())}
    for layer in layers_of(node):
        for key, value in layer.values.items():
            found[segmentation.GetSegment(key).GetName()] = int((layer.array == value).sum())
    return found


def choose(panel, name: str) -> None:
    row = next(row for row in panel.state.edit_segments if row["name"] == name)
    set_state(panel.context, segment=row["id"])


def test_the_segments_are_listed_with_their_volumes(panel, segmentation):
    listed = {row["name"]: row["ml"] for row in panel.state.edit_segments}
    assert listed[LABEL] == "0.4 ml"  # 36 voxels of 12 mm3
    assert panel.state.edit_ready


def test_dragging_in_a_view_paints_the_chosen_segment(panel, context, segmentation):
    before = voxels(segmentation)
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.4, 0.5), (0.6, 0.5))
    after = voxels(segmentation)
    assert after[LABEL] > before[LABEL]
    assert after["left kidney"] < before["left kidney"]  # a voxel belongs to one structure


def test_a_change_is_taken_back_and_done_again(panel, context, segmentation):
    before = voxels(segmentation)
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.5, 0.5))
    changed = voxels(segmentation)
    assert changed != before
    assert panel.state.edit_can_undo
    panel.undo()
    assert voxels(segmentation) == before
    assert panel.state.edit_can_redo
    panel.redo()
    assert voxels(segmentation) == changed
    assert context.state.notices == []


def test_the_eraser_takes_voxels_from_the_chosen_segment_alone(panel, context, segmentation):
    before = voxels(segmentation)
    choose(panel, "left kidney")
    set_state(context, tool="erase", brush=40.0, sphere=True)
    drag(context, "Red", (0.5, 0.5))
    after = voxels(segmentation)
    assert after["left kidney"] < before["left kidney"]
    assert after[LABEL] == before[LABEL]


def test_a_sphere_reaches_into_the_slices_beside(panel, context, segmentation):
    counts = {}
    for sphere in (False, True):
        choose(panel, LABEL)
        set_state(context, tool="paint", brush=16.0, sphere=sphere)
        drag(context, "Red", (0.5, 0.5))
        counts[sphere] = voxels(segmentation)[LABEL]
        panel.undo()
    assert counts[True] > 2 * counts[False]


def test_with_a_mask_only_fitting_hu_are_painted(panel, context, segmentation):
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=60.0, mask=True, range=[0, 100])
    drag(context, "Red", (0.5, 0.5))
    masked = voxels(segmentation)[LABEL]
    panel.undo()
    set_state(context, mask=False)
    drag(context, "Red", (0.5, 0.5))
    assert 36 < masked < voxels(segmentation)[LABEL]


def test_hidden_segments_stay_hidden_when_a_change_is_taken_back(panel, context, segmentation):
    kidney = next(row for row in panel.state.edit_segments if row["name"] == "left kidney")
    panel.toggle(kidney["id"])
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.5, 0.5))
    panel.undo()
    panel.show()
    shown = {row["name"]: row["shown"] for row in panel.state.edit_segments}
    assert not shown["left kidney"]
    assert shown[LABEL]


def test_looking_gives_the_mouse_back_to_the_views(panel, context, segmentation):
    choose(panel, LABEL)
    set_state(context, tool="paint")
    set_state(context, tool="look")
    before = voxels(segmentation)
    drag(context, "Red", (0.4, 0.5), (0.6, 0.5))
    assert voxels(segmentation) == before


def test_the_surfaces_are_made_again_when_the_panel_is_left(panel, context, segmentation, wait_until):
    from hlfd_web.edit_panel.editor import has_surfaces

    assert has_surfaces(segmentation)
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.5, 0.5))
    assert not has_surfaces(segmentation)
    panel.leave()
    wait_until(lambda: has_surfaces(segmentation), 60)
    context.tick()
    assert has_surfaces(segmentation)
    name = "Closed surface"
    tumor = segmentation.GetSegmentation().GetSegment(segmentation.GetSegmentation().GetSegmentIdBySegmentName(LABEL))
    assert tumor.GetRepresentation(name).GetNumberOfPolys() > 0


def test_measurements_from_before_a_change_are_said_to_be_so(panel, context, segmentation, wait_until):
    segmentation.SetAttribute("HLFD.Result", json.dumps({"model": "kidney"}))
    heard = []
    context.on_change.connect(lambda: heard.append(1))
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.5, 0.5))
    wait_until(lambda: bool(context.state.edit_changed_text), 10)
    assert "kidney tumor" in context.state.edit_changed_text
    assert heard


def test_without_a_segmentation_one_can_be_drawn_from_nothing(context, ct_node):
    from hlfd_web.edit_panel import EditPanel

    panel = EditPanel(context)
    panel.enter()
    assert not panel.state.edit_ready
    panel.begin()
    assert context.state.notices == []
    assert panel.state.edit_ready
    assert LABEL in [row["name"] for row in panel.state.edit_segments]
    choose(panel, LABEL)
    set_state(context, tool="paint", brush=10.0)
    drag(context, "Red", (0.5, 0.5))
    assert voxels(context.segmentation_node)[LABEL] > 0


def test_another_segmentation_that_is_shown_is_edited_from_then_on(panel, context, ct_node, labels):
    from HLFDSegmentLib.segmentations import segmentation_from_label_map

    other = segmentation_from_label_map(context.scene, labels, ct_node, name="other")
    context.show_segmentation(other)
    assert panel.editor.node is other
    assert panel.state.edit_name == "other"


def test_hiding_the_ct_ends_the_editing(panel, context):
    context.show_volume(None)
    assert not panel.state.edit_ready
    assert context.state.notices == []


def test_a_correction_is_saved_below_the_results(panel, context, segmentation, data_root, wait_until):
    from hlfd.io import read_label_map

    choose(panel, LABEL)
    set_state(context, tool="paint", brush=12.0)
    drag(context, "Red", (0.5, 0.5))
    panel.save()
    wait_until(lambda: not panel.saving.busy, 30)
    (path,) = data_root.results.glob("block_corrected_*/segmentation.seg.nrrd")
    assert int((read_label_map(path).array > 0).sum()) == sum(voxels(segmentation).values())
    assert context.state.notices[-1]["text"].startswith("Saved as results/block_corrected_")
