"""A person looks at feature maps with the real panel and the real worker, changes layers, exports, and leaves."""

from __future__ import annotations

import runpy
import time

import numpy as np
import pytest

from Testing.desktop.conftest import PROJECT
from Testing.engine.conftest import make_patient
from Testing.viewer_package import write_viewer_package

pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")

GENEROUS_BLOCK_S = 1.0  # machines that test are shared; what was measured is printed


def looked(person) -> bool:
    return person.ui.featureButton.enabled


def texts(selector) -> list[str]:
    return [selector.itemText(index) for index in range(selector.count)]


def rows(person) -> list[tuple[str, str, str]]:
    table = person.ui.featureChannels
    return [tuple(table.item(row, column).text() for column in range(3)) for row in range(table.rowCount)]


def prepare(person, folder, **options):
    """Install a small model as the person's own, choose it, and load a CT."""
    import slicer

    from HLFDSegmentLib.volumes import volume_to_node

    layouts = slicer.vtkMRMLLayoutLogic()
    layouts.SetMRMLScene(person.desktop.scene)
    layouts.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    write_viewer_package(folder, **options)
    person.panel.model.refresh()
    person.panel.model.select("viewed/1.0.0")
    node = volume_to_node(person.desktop.scene, make_patient()[0], "abdomen")
    person.ui.featureSection.collapsed = False
    return layouts, node


@pytest.fixture
def desk(person, own_models):
    person.layouts, person.ct = prepare(person, own_models)
    return person


@pytest.fixture
def seen(desk):
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: looked(desk), 180)
    assert desk.ui.featureLabel.text.startswith("Done in"), desk.dialogs.shown
    return desk


def shown_first(person) -> bool:
    return person.ui.featureLabel.text.startswith("Layer ")


def blocked(person, act, capsys, what: str) -> None:
    """Do something, let Qt work until the maps are there, and print the longest time in which it could not."""
    person.longest_block = person.longest_work = 0.0
    begin = time.perf_counter()
    act()
    click = time.perf_counter() - begin
    person.wait_until(lambda: looked(person), 300)
    longest = max(click, person.longest_block)
    with capsys.disabled():
        print(
            f"\n{what}: Qt could not react for {1000 * person.longest_block:.0f} ms at most, "
            f"{1000 * person.longest_work:.0f} ms of work in it; the click took {1000 * click:.0f} ms"
        )
    assert longest < GENEROUS_BLOCK_S


def test_the_panel_stays_free_while_the_networks_work(desk, capsys):
    desk.wait_until(lambda: desk.ui.deviceLabel.text != "")
    blocked(desk, lambda: desk.click(desk.ui.featureButton), capsys, "small model")
    assert desk.ui.featureLabel.text.startswith("Done in"), desk.dialogs.shown


@pytest.mark.slow
def test_the_panel_stays_free_while_the_networks_look_at_a_large_ct(person, own_models, capsys):
    """The cost of a real teacher, the size of a real CT."""
    import slicer

    from hlfd.bench.phantom import bench_scan

    made = runpy.run_path(str(PROJECT / "scripts" / "measure_features.py"))["package_with_teacher"](own_models)
    layouts = slicer.vtkMRMLLayoutLogic()
    layouts.SetMRMLScene(person.desktop.scene)
    person.panel.model.refresh()
    person.panel.model.select(f"measured/{made.name}")
    person.load_ct(bench_scan(), every=1)
    person.ui.featureSection.collapsed = False
    person.wait_until(lambda: person.ui.deviceLabel.text != "")
    for what in ("first", "second"):
        blocked(person, lambda: person.click(person.ui.featureButton), capsys, f"512 x 512 x 200, {what} click")
        assert person.ui.featureLabel.text.startswith("Done in"), person.dialogs.shown
    assert "a part of 96 x 96 x 96 mm" in person.ui.featureLabel.text
    person.picture("features-panel-large")


def test_one_layer_is_shown_while_the_others_are_made(desk):
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: shown_first(desk), 180)
    assert "a part of " in desk.ui.featureLabel.text
    assert "follow" in desk.ui.featureLabel.text
    assert len(texts(desk.ui.featurePair)) == 1
    assert desk.ui.featureCancelButton.visible
    assert not looked(desk)
    desk.picture("features-first")
    desk.click(desk.ui.featureCancelButton)
    desk.wait_until(lambda: looked(desk))
    assert desk.ui.featureLabel.text.startswith("Cancelled by the user. Still shown: layer ")
    assert desk.ui.featureKind.enabled
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: looked(desk), 180)
    assert desk.ui.featureLabel.text.startswith("Done in")
    assert len(texts(desk.ui.featurePair)) > 1


def test_a_whole_region_or_the_place_of_the_crosshair_can_be_chosen(desk):
    crosshair = desk.desktop.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if crosshair is None:
        desk.panel.features.logic.layout.crosshair()  # makes it
        crosshair = desk.desktop.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(-30.0, 10.0, 20.0)
    desk.ui.featureRegion.setCurrentIndex(1)
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: looked(desk), 180)
    assert desk.panel.features.logic.maps.answer["around"] == pytest.approx([-30.0, 10.0, 20.0])
    assert desk.ui.featureRegion.currentText == "Around the cross-hair (quick)"
    desk.ui.featureRegion.setCurrentIndex(2)
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: looked(desk), 180)
    assert not desk.panel.features.logic.maps.partial
    assert desk.ui.featureLabel.text.splitlines()[0].endswith("whole.")


def test_removing_the_ct_or_reloading_in_the_middle_leaves_a_panel_that_works(desk):
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: shown_first(desk), 180)
    desk.desktop.scene.RemoveNode(desk.ct)
    desk.wait_until(lambda: looked(desk))
    assert desk.ui.featureLabel.text.startswith("The input volume was removed")
    desk.panel.close()  # as the reload of the module does
    assert desk.panel.features.logic.maps is None
    assert desk.dialogs.shown == []


def test_a_click_shows_maps_and_says_of_what(seen):
    assert texts(seen.ui.featurePair)
    assert "Principal components as color" in texts(seen.ui.featureKind)
    assert "Difference of attention to the teacher's" in texts(seen.ui.featureKind)
    assert "Shown: " in seen.ui.featureLabel.text
    assert len(texts(seen.ui.featureRegion)) == 4
    assert seen.dialogs.shown == []
    seen.picture("features-panel")


def test_changing_layer_and_map_changes_what_is_shown_at_once(seen):
    seen.ui.featurePair.setCurrentIndex(0)
    seen.ui.featureKind.setCurrentIndex(texts(seen.ui.featureKind).index("Principal components as color"))
    selection = seen.panel.features.logic.selection
    assert (selection.pair, selection.kind) == (texts(seen.ui.featurePair)[0], "pca")
    seen.ui.featureColors.setCurrentIndex(2)
    seen.ui.featureOpacity.setValue(0.25)
    composite = seen.panel.features.logic.layout.composite_node("student")
    assert composite.GetForegroundOpacity() == pytest.approx(0.25)


def test_channels_are_found_by_text_and_shown_by_a_click(seen):
    everything = rows(seen)
    values = [float(row[2]) for row in everything]
    assert values == sorted(values, reverse=True)
    seen.ui.featureSearch.text = "teacher"
    found = rows(seen)
    assert 0 < len(found) < len(everything)
    assert all("Teacher" in row[0] for row in found)
    seen.ui.featureChannels.cellClicked.emit(1, 0)
    selection = seen.panel.features.logic.selection
    assert selection.kind == "channel"
    assert selection.channel("teacher") == int(found[1][1])
    assert seen.ui.featureKind.currentText == "One channel"
    seen.picture("features-channel")


def test_the_value_at_the_crosshair_is_told(seen):
    crosshair = seen.desktop.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(*np.add(seen.panel.features.logic.maps.focus, 4.0))
    assert seen.ui.featureValues.text.startswith("At the cross-hair: Teacher: ")


def test_figure_and_maps_are_written(seen, tmp_path):
    seen.files.answers = [str(tmp_path / "figure.png"), str(tmp_path / "maps")]
    seen.click(seen.ui.featureFigureButton)
    seen.click(seen.ui.featureMapsButton)
    assert seen.dialogs.shown == []
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert len(list((tmp_path / "maps").glob("*.nrrd"))) == 3


def test_leaving_restores_the_layout(seen):
    seen.click(seen.ui.featureLeaveButton)
    import slicer

    assert seen.layouts.GetLayoutNode().GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert not seen.ui.featureLeaveButton.enabled


def test_cancelling_in_the_middle_adds_nothing(desk):
    before = desk.desktop.scene.GetNumberOfNodes()
    desk.click(desk.ui.featureButton)
    desk.click(desk.ui.featureCancelButton)
    desk.wait_until(lambda: looked(desk))
    assert desk.ui.featureLabel.text == "Cancelled by the user."
    assert desk.desktop.scene.GetNumberOfNodes() == before


def test_a_model_without_a_teacher_shows_the_student_and_says_so(person, own_models):
    person.layouts, person.ct = prepare(person, own_models, teacher=False)
    person.click(person.ui.featureButton)
    person.wait_until(lambda: looked(person), 180)
    assert "the student is shown alone" in person.ui.featureLabel.text
    assert "Difference of attention to the teacher's" not in texts(person.ui.featureKind)


def test_a_teacher_that_is_not_there_is_said(desk):
    desk.ui.featureTeacher.setCurrentPath("/nowhere/teacher.ts")
    desk.click(desk.ui.featureButton)
    desk.wait_until(lambda: looked(desk), 180)
    assert 'The teacher "/nowhere/teacher.ts" does not exist.' in desk.dialogs.shown[-1]


def test_closing_the_scene_forgets_the_maps(seen):
    seen.desktop.scene.Clear()
    seen.desktop.process_events()
    assert seen.panel.features.logic.maps is None
    assert not seen.ui.featureFigureButton.enabled
