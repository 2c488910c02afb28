"""A person looks at feature maps in the browser: the real panel, the real worker, small networks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from Testing.web.in_process import session, wait_for

pytest.importorskip("trame_slicer", reason="trame-slicer is not installed: pip install 'hlfd[slicer]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")

PATIENCE_S = 240.0  # on a machine that others use too


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One session for all tests here: the small networks are installed, a CT is shown, the panel is open."""
    from hlfd_web.feature_panel import FeaturePanel
    from HLFDSegmentLib.volumes import volume_to_node
    from Testing.engine.conftest import make_patient
    from Testing.viewer_package import write_viewer_package

    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch, session(folder) as context:
        patch.setenv("HLFD_MODELS", str(context.data_root.models))
        patch.setenv("OMP_NUM_THREADS", "1")
        write_viewer_package(context.data_root.models)
        context.panels["features"] = FeaturePanel(context)
        context.show_volume(volume_to_node(context.scene, make_patient()[0], "abdomen"))
        context.ct = context.volume_node
        yield context.panels["features"]


@pytest.fixture
def panel(opened):
    """The panel as it is opened, without maps."""
    if opened.context.volume_node is not opened.context.ct:
        opened.context.show_volume(opened.context.ct)
    if opened.logic.maps is not None:
        opened.leave_maps()
    opened.enter()
    opened.state.notices = []
    set_state(opened, model="viewed/1.0.0", teacher="", place="tumor", search="")
    return opened


@pytest.fixture
def seen(opened):
    """The panel with maps; they are made once."""
    opened.enter()
    opened.state.notices = []
    set_state(opened, model="viewed/1.0.0", search="")
    if opened.logic.maps is None:
        look(opened)
    assert opened.state.feat_shown, opened.state.notices
    set_state(opened, kind="attention")
    return opened


def set_state(panel, **values) -> None:
    with panel.state as state:
        for name, value in values.items():
            state[f"feat_{name}"] = value


def look(panel) -> None:
    panel.start()
    assert panel.state.feat_running, panel.state.notices
    wait_for(panel.context, lambda: not panel.state.feat_running, PATIENCE_S)


def values(items) -> list[str]:
    return [item["value"] for item in items]


def test_a_look_shows_the_networks_side_by_side_and_says_of_what(seen):
    context = seen.context
    state = seen.state
    assert state.feat_text.startswith("Done in ")
    assert "Shown: " in state.feat_text
    assert {"attention", "channel", "pca", "evidence", "difference"} == set(values(state.feat_kinds))
    assert context.views.layout == ""
    shown = [context.views.view(tag) for tag in ("HLFDTeacher", "HLFDStudent", "HLFDUndistilled")]
    assert all(view.get_foreground_volume_id() for view in shown)
    assert len({round(view.get_slice_value(), 2) for view in shown}) == 1
    context.tick()
    assert state.view_HLFDTeacher_text.endswith("Teacher")
    assert state.feat_notice
    assert state.notices == []


def test_numbers_of_all_layers_are_a_table_and_a_chart(seen):
    rows = seen.state.feat_numbers
    assert {row["pair"] for row in rows} == set(seen.state.feat_pairs)
    assert all(len(row["cells"]) == 7 for row in rows)
    assert seen.state.feat_chart.count("<path") == 4  # cosine and CKA of two students
    assert "Agreement with the teacher" in seen.state.feat_chart


def test_layer_map_colors_and_opacity_change_what_is_shown_at_once(seen):
    set_state(seen, pair=seen.state.feat_pairs[0], kind="pca")
    assert (seen.logic.selection.pair, seen.logic.selection.kind) == (seen.state.feat_pairs[0], "pca")
    set_state(seen, kind="attention", colors="Inferno", opacity=0.25, orientation="Coronal")
    assert seen.logic.color_table == "Inferno"
    assert seen.logic.layout.composite_node("student").GetForegroundOpacity() == pytest.approx(0.25)
    assert seen.logic.layout.slice_node("teacher").GetOrientation() == "Coronal"
    assert seen.state.notices == []


def test_what_a_page_sends_that_is_not_offered_is_refused_in_words(seen):
    before = seen.logic.selection
    set_state(seen, pair="nowhere")
    assert seen.logic.selection == before
    assert 'There is no layer pair "nowhere"' in seen.state.notices[-1]["text"]


def test_channels_are_ordered_by_selectivity_found_by_text_and_shown_by_a_click(seen):
    order = [float(row["cells"][2]) for row in seen.state.feat_channels]
    assert order == sorted(order, reverse=True)
    set_state(seen, search="teacher")
    assert {row["cells"][0] for row in seen.state.feat_channels} == {"Teacher"}
    row = seen.state.feat_channels[1]
    seen.show_channel(row["role"], row["channel"])
    assert seen.state.feat_kind == "channel"
    assert seen.logic.selection.channel("teacher") == row["channel"]
    assert [one["channel"] for one in seen.state.feat_channels if one["chosen"]] == [row["channel"]]


def test_the_values_at_the_crosshair_are_told(seen):
    context = seen.context
    crosshair = context.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*np.add(seen.logic.maps.focus, 4.0))
    assert seen.state.feat_values.startswith("At the cross-hair: Teacher: ")


def test_figure_and_maps_are_offered_as_downloads(seen):
    context = seen.context
    seen.exports.figure()
    assert context.state.download["url"] == "files/session/feature-maps.png"
    assert (context.folder / "downloads" / "feature-maps.png").stat().st_size > 1000
    seen.exports.maps()
    assert context.state.download["name"] == "feature-maps.zip"
    assert context.state.notices == []


def test_another_tab_gets_the_views_back_and_the_maps_return_with_this_one(seen):
    context = seen.context
    seen.leave()
    assert context.views.layout == "quad"
    seen.enter()
    assert context.views.layout == ""
    assert seen.state.feat_shown
    seen.leave_maps()
    assert context.views.layout == "quad"
    assert not seen.state.feat_shown
    assert context.scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_segments_are_outlines_while_maps_are_shown(seen):
    node = seen.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    seen.leave()
    seen.context.show_segmentation(node)
    seen.enter()
    assert not node.GetDisplayNode().GetVisibility2DFill()
    seen.leave()
    assert node.GetDisplayNode().GetVisibility2DFill()
    seen.context.show_segmentation(None)


def test_cancelling_adds_nothing(panel):
    context = panel.context
    before = context.scene.GetNumberOfNodes()
    panel.start()
    panel.cancel()
    for _ in range(400):
        context.tick()
        if not panel.state.feat_running:
            break
    assert panel.state.feat_text == "Cancelled by the user."
    assert not panel.state.feat_shown
    assert context.scene.GetNumberOfNodes() == before


def test_a_model_without_a_teacher_shows_the_student_and_takes_an_imported_one(panel, tmp_path):
    from Testing.viewer_package import write_viewer_package

    write_viewer_package(tmp_path, teacher=False)
    alone = panel.context.data_root.models / "viewed" / "1.0.0"
    kept = alone.rename(alone.with_name("kept"))
    shutil.copytree(tmp_path / "viewed" / "1.0.0", alone)
    try:
        look(panel)
        assert "the student is shown alone" in panel.state.feat_text
        assert "Share of attention" in panel.state.feat_chart
        assert "model:viewed/1.0.0" in values(panel.state.feat_teachers)
        set_state(panel, teacher="model:viewed/1.0.0")
        look(panel)
        assert "teacher" in panel.logic.maps.roles, panel.state.notices
    finally:
        shutil.rmtree(alone)
        kept.rename(alone)


@pytest.mark.parametrize("teacher", ["file:../../etc/passwd", "file:/etc/passwd", "model:../x", "file:nothing.ts"])
def test_a_teacher_that_is_not_offered_is_refused(panel, teacher):
    set_state(panel, teacher=teacher)
    panel.start()
    assert not panel.state.feat_running
    assert panel.state.notices[-1]["kind"] == "error"


def test_without_a_ct_there_is_a_sentence(panel):
    context = panel.context
    context.show_volume(None)
    panel.start()
    assert not panel.state.feat_running
    assert context.state.notices[-1]["text"] == "No CT is open."


def test_another_session_that_uses_the_device_comes_first(panel):
    from hlfd_web.device_queue import DeviceQueue
    from hlfd_web.turns import FOLDER

    other = DeviceQueue(panel.context.data_root.hidden / FOLDER, "cpu").enter()
    assert other.poll() == 0
    panel.start()
    assert panel.state.feat_text.startswith("Waiting: 1 job")
    assert not panel.logic.running
    panel.cancel()
    assert not panel.state.feat_running
    panel.start()
    other.release()
    wait_for(panel.context, lambda: panel.logic.running, 30)
    panel.cancel()
    wait_for(panel.context, lambda: not panel.state.feat_running, 60)


def test_every_attribute_of_the_widgets_reaches_the_page(panel):
    """trame drops without a word what it does not know, such as a misspelt event."""
    from trame.ui.html import DivLayout

    from hlfd_web.edit_panel import EditPanel
    from hlfd_web.train_panel import TrainPanel

    context = panel.context
    with DivLayout(context.server) as page:
        for one in (panel, EditPanel(context), TrainPanel(context)):
            one.build()
    page.html  # noqa: B018  the attributes are looked at when the page is written
    unknown = {}
    waiting = [page.root]
    while waiting:
        element = waiting.pop()
        if hasattr(element, "skipped_attributes"):
            if element.skipped_attributes:
                unknown[element._elem_name] = element.skipped_attributes
            waiting += element.children
    assert unknown == {}
