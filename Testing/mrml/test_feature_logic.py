"""Feature maps in a scene, with the real worker: what is shown, where, how quickly, and that nothing stays behind."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import ConfigError, InputError, UsageError
from Testing.engine.conftest import make_patient
from Testing.viewer_package import write_viewer_package

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")
from hlfd.jobs import Jobs  # noqa: E402
from HLFDSegmentLib.feature_layout import VIEW_GROUP  # noqa: E402
from HLFDSegmentLib.feature_logic import FeatureLogic  # noqa: E402
from HLFDSegmentLib.feature_maps import Selection  # noqa: E402
from HLFDSegmentLib.headless import HeadlessScene  # noqa: E402
from HLFDSegmentLib.volumes import node_affine, volume_to_node  # noqa: E402
from HLFDSegmentLib.worker_engine import WorkerEngine  # noqa: E402

SWITCH_S = 0.15
ROLES = ("teacher", "student", "undistilled")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_viewer_package(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    jobs = Jobs(folder=tmp_path_factory.mktemp("jobs"))
    yield jobs
    jobs.close()


def engine_of(package, jobs) -> WorkerEngine:
    return WorkerEngine(SegmentSettings(model=str(package.folder), mode="box", device="cpu", threads=1), jobs)


class Desk:
    """A scene with a layout, a CT, the logic and what its signals said."""

    def __init__(self, engine):
        self.application = HeadlessScene()
        self.scene = self.application.scene
        self.layouts = slicer.vtkMRMLLayoutLogic()
        self.layouts.SetMRMLScene(self.scene)
        self.layouts.GetLayoutNode().SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.node = volume_to_node(self.scene, make_patient()[0], "abdomen")
        self.before = self.ids()
        self.logic = FeatureLogic(self.scene, engine)
        self.ends, self.events = [], []
        self.logic.event.connect(self.events.append)
        self.logic.finished.connect(lambda maps: self.ends.append(("finished", maps)))
        self.logic.failed.connect(lambda error: self.ends.append(("failed", error)))
        self.logic.cancelled.connect(lambda reason: self.ends.append(("cancelled", reason)))

    def ids(self):
        return {self.scene.GetNthNode(n).GetID() for n in range(self.scene.GetNumberOfNodes())}

    @property
    def arrangement(self):
        return self.layouts.GetLayoutNode().GetViewArrangement()

    def look(self, **request):
        self.logic.start(self.node, request)
        assert self.logic.wait(180)
        return self.ends[-1]

    def foreground(self, role):
        return self.scene.GetNodeByID(self.logic.layout.composite_node(role).GetForegroundVolumeID())


@pytest.fixture
def desk(package, jobs):
    desk = Desk(engine_of(package, jobs))
    yield desk
    desk.logic.close()


@pytest.fixture(scope="module")
def looked(package, jobs):
    """A desk at which a look was taken; for tests that only switch what is shown."""
    desk = Desk(engine_of(package, jobs))
    end, said = desk.look()
    assert end == "finished", said
    yield desk
    desk.logic.close()


class TestWhatIsShown:
    def test_every_network_has_a_view_with_its_map_over_the_ct(self, looked):
        looked.logic.show(Selection("e1", "attention"))
        for role in ROLES:
            composite = looked.logic.layout.composite_node(role)
            assert composite.GetBackgroundVolumeID() == looked.node.GetID()
            assert composite.GetForegroundOpacity() == pytest.approx(0.6)
            assert looked.logic.layout.slice_node(role).GetViewGroup() == VIEW_GROUP
            assert composite.GetLinkedControl()
            assert looked.foreground(role).GetName().endswith("attention")

    def test_maps_lie_where_the_job_says(self, looked):
        for pair in looked.logic.maps.pairs:
            looked.logic.show(Selection(pair, "attention"))
            for role in ROLES:
                expected = np.array(looked.logic.maps.layer(pair, role)["affine"])
                np.testing.assert_allclose(node_affine(looked.foreground(role)), expected, atol=1e-9)
                shape = looked.logic.maps.layer(pair, role)["shape"]
                assert list(slicer.util.arrayFromVolume(looked.foreground(role)).shape) == shape[1:]

    def test_teacher_and_student_share_a_scale(self, looked):
        for kind in ("attention", "channel", "evidence"):
            looked.logic.show(Selection("e1", kind))
            windows = {
                (d.GetWindowLevelMin(), d.GetWindowLevelMax())
                for d in (looked.foreground(role).GetDisplayNode() for role in ROLES)
            }
            assert len(windows) == 1

    def test_colours_are_a_vector_volume(self, looked):
        looked.logic.show(Selection("e1", "pca"))
        for role in ROLES:
            assert looked.foreground(role).IsA("vtkMRMLVectorVolumeNode")
            assert slicer.util.arrayFromVolume(looked.foreground(role)).shape[-1] == 3

    def test_the_difference_is_symmetric_about_white(self, looked):
        looked.logic.show(Selection("e1", "difference"))
        display = looked.foreground("student").GetDisplayNode()
        assert display.GetWindowLevelMin() == pytest.approx(-display.GetWindowLevelMax())
        assert display.GetColorNode().GetName() == "HLFD Blue-white-red"
        assert looked.foreground("teacher").GetName().endswith("attention")

    def test_channels_are_listed_by_selectivity_and_each_can_be_shown(self, looked):
        maps = looked.logic.maps
        for role in ROLES:
            channels = maps.channels("e2", role)
            assert [value for _, value in channels] == sorted((value for _, value in channels), reverse=True)
            assert sorted(index for index, _ in channels) == list(range(maps.layer("e2", role)["shape"][0]))
        looked.logic.show(Selection("e2", "channel"))
        looked.logic.show_channel("student", 3)
        expected = maps._arrays["e2-student-channels"][3].astype(np.float32)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(looked.foreground("student")), expected)
        assert looked.logic.selection.channel("student") == 3

    def test_a_channel_that_is_not_there_is_said(self, looked):
        with pytest.raises(UsageError, match="no channel 99"):
            looked.logic.show(Selection("e2", "channel", (("student", 99),)))
        with pytest.raises(UsageError, match='no layer pair "e9"'):
            looked.logic.show(Selection("e9"))
        with pytest.raises(UsageError, match='no kind of map "attentoin"'):
            looked.logic.show(Selection("e1", "attentoin"))

    def test_opacity_and_colour_table_are_those_chosen(self, looked):
        looked.logic.show(Selection("e1", "attention"))
        looked.logic.set_opacity(0.3)
        looked.logic.set_color_table("Inferno")
        try:
            assert looked.logic.layout.composite_node("student").GetForegroundOpacity() == pytest.approx(0.3)
            assert looked.foreground("student").GetDisplayNode().GetColorNode().GetName() == "HLFD Inferno"
        finally:
            looked.logic.set_opacity(0.6)
            looked.logic.set_color_table("")

    def test_legends_stand_beside_their_own_views(self, looked):
        for role in ROLES:
            looked.logic.show(Selection("e1", "attention"))
            legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(looked.foreground(role))
            assert legend.GetTitleText() == "Attention / mean"
            assert legend.GetViewNodeIDs() == (looked.logic.layout.slice_node(role).GetID(),)

    def test_numbers_fill_a_table_and_bars(self, looked):
        maps = looked.logic.maps
        looked.logic.show(Selection("e2"))
        table = looked.scene.GetFirstNodeByName("Feature numbers").GetTable()
        assert table.GetNumberOfRows() == len(maps.pairs) * len(ROLES)
        row = [*((pair, role) for pair in maps.pairs for role in ROLES)].index(("e2", "student"))
        column = table.GetColumnByName("Cosine of attention to the teacher's")
        assert column.GetValue(row) == pytest.approx(maps.number("e2", "student", "cosine"))
        chart = looked.scene.GetFirstNodeByName("Feature numbers of a layer")
        assert chart.GetTitle() == "Layer e2"
        assert chart.GetNumberOfPlotSeriesNodes() == len(ROLES)
        bars = chart.GetNthPlotSeriesNode(1).GetTableNode().GetTable()
        assert bars.GetColumnByName("Student").GetValue(0) == pytest.approx(maps.number("e2", "student", "cosine"))
        assert bars.GetNumberOfRows() == 5

    def test_nothing_is_saved_with_the_scene_and_all_lies_in_one_folder(self, looked):
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(looked.scene)
        folder = hierarchy.GetItemByName("Feature maps")
        for role in ROLES:
            node = looked.foreground(role)
            assert not node.GetSaveWithScene()
            assert not node.GetDisplayNode().GetSaveWithScene()
            assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder

    def test_switching_layer_channel_and_kind_is_quick(self, looked, capsys):
        maps, slowest = looked.logic.maps, 0.0
        for pair in maps.pairs:
            for kind in maps.kinds(pair):
                begin = time.perf_counter()
                looked.logic.show(Selection(pair, kind))
                slowest = max(slowest, time.perf_counter() - begin)
        with capsys.disabled():
            print(f"\nslowest switch of the small maps: {1000 * slowest:.0f} ms")
        assert slowest < 10 * SWITCH_S  # on a machine that others use too


class TestWhereTheViewsLook:
    def test_they_begin_at_the_focus_and_follow_the_crosshair(self, looked):
        maps, heard = looked.logic.maps, []
        looked.logic.moved.connect(heard.append)
        crosshair = looked.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        crosshair.SetCrosshairRAS(*maps.focus)
        target = np.add(maps.focus, [3.0, -2.0, 12.0])
        crosshair.SetCrosshairRAS(*target)
        for role in ROLES:
            assert looked.logic.layout.slice_node(role).GetSliceOffset() == pytest.approx(target[2], abs=1e-3)
        assert heard[-1] == pytest.approx(tuple(target))

    def test_orientation_changes_in_all_views(self, looked):
        looked.logic.layout.orient("Coronal")
        assert {looked.logic.layout.slice_node(role).GetOrientation() for role in ROLES} == {"Coronal"}
        looked.logic.layout.orient("Axial")

    def test_the_value_under_the_crosshair_is_that_of_the_voxel_there(self, looked):
        looked.logic.show(Selection("e1", "attention"))
        array = slicer.util.arrayFromVolume(looked.foreground("student"))
        place = node_affine(looked.foreground("student")) @ [4, 3, 2, 1]
        assert looked.logic.values_at(place[:3])["student"] == pytest.approx(float(array[2, 3, 4]))
        assert looked.logic.values_at((1e4, 0, 0)) == {}


class TestTheGlance:
    def start_and_wait_for_the_glance(self, desk, **request):
        glances = []
        desk.logic.glanced.connect(glances.append)
        desk.logic.start(desk.node, {"part_mm": 64.0, **request})
        end = time.monotonic() + 180
        while not glances and time.monotonic() < end and desk.logic.poll():
            time.sleep(0.01)
        assert glances, desk.ends
        return glances[0]

    def test_one_layer_around_the_tumor_is_shown_first_and_the_others_take_its_place(self, desk):
        first = self.start_and_wait_for_the_glance(desk)
        assert desk.logic.running
        assert desk.ends == []
        assert len(first.pairs) == 1
        assert first.partial
        assert "evidence" not in first.kinds(first.pairs[0])
        assert desk.foreground("student") is not None
        desk.logic.show(Selection(first.pairs[0], "pca"))
        offset = desk.logic.layout.slice_node("student").GetSliceOffset() + 5.0
        desk.logic.layout.slice_node("student").SetSliceOffset(offset)
        assert desk.logic.wait(180)
        end, maps = desk.ends[0]
        assert end == "finished"
        assert len(maps.pairs) > 1
        assert "evidence" in maps.kinds(first.pairs[0])
        np.testing.assert_allclose(maps.answer["affine"], first.answer["affine"])  # the same part
        assert desk.logic.selection == Selection(first.pairs[0], "pca")
        assert desk.logic.layout.slice_node("student").GetSliceOffset() == pytest.approx(offset)  # nothing jumps

    def test_cancelling_after_it_keeps_it(self, desk):
        first = self.start_and_wait_for_the_glance(desk)
        desk.logic.cancel()
        assert desk.logic.wait(60)
        assert desk.ends == [("cancelled", "Cancelled by the user.")]
        assert desk.logic.maps is first
        desk.logic.show(Selection(first.pairs[0], "channel"))
        assert desk.logic.shown["student"].array.any()

    def test_leaving_after_it_stops_the_rest(self, desk):
        self.start_and_wait_for_the_glance(desk)
        desk.logic.leave()
        assert desk.logic.wait(60)
        assert desk.ends == [("cancelled", "The feature viewer was left.")]
        assert desk.logic.maps is None

    def test_the_next_look_goes_to_its_own_place(self, desk):
        self.start_and_wait_for_the_glance(desk)
        desk.logic.cancel()
        assert desk.logic.wait(60)
        target = np.add(desk.logic.maps.focus, [0.0, 0.0, 24.0])
        moved = self.start_and_wait_for_the_glance(desk, around=target.tolist())
        assert moved.answer["around"] == pytest.approx(target.tolist())
        assert desk.logic.wait(180)

    def test_closing_the_scene_after_it_leaves_nothing(self, desk):
        self.start_and_wait_for_the_glance(desk)
        desk.scene.Clear()
        assert desk.logic.wait(60)
        assert desk.ends == [("cancelled", "The scene was closed; nothing was added.")]
        assert desk.logic.maps is None
        assert not desk.scene.GetFirstNodeByName("Student map")


class TestComingAndGoing:
    def test_leaving_restores_the_layout_and_leaves_no_node(self, desk):
        own = desk.arrangement
        assert desk.look(pairs=["e1"])[0] == "finished"
        assert desk.arrangement != own
        desk.logic.leave()
        assert desk.arrangement == own
        left = [desk.scene.GetNodeByID(node_id) for node_id in desk.ids() - desk.before]
        kinds = {node.GetClassName() for node in left}
        assert not {"vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode", "vtkMRMLTableNode"} & kinds
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(desk.scene)
        assert not hierarchy.GetItemByName("Feature maps")

    def test_another_look_keeps_what_was_shown(self, desk):
        desk.look(pairs=["e1", "e2"])
        desk.logic.show(Selection("e1", "pca"))
        own = desk.layouts.GetLayoutNode().GetViewArrangement()
        desk.look(pairs=["e1", "e2"])
        assert desk.logic.selection == Selection("e1", "pca")
        assert desk.arrangement == own

    def test_closing_the_scene_during_the_work_cancels_it(self, desk):
        desk.logic.start(desk.node)
        desk.scene.Clear()
        assert desk.logic.wait(60)
        assert desk.ends == [("cancelled", "The scene was closed; nothing was added.")]

    def test_closing_the_scene_after_it_forgets_the_maps_and_the_next_look_works(self, desk):
        desk.look(pairs=["e1"])
        desk.scene.Clear()
        assert desk.logic.maps is None
        desk.node = volume_to_node(desk.scene, make_patient()[0], "again")
        assert desk.look(pairs=["e1"])[0] == "finished"

    def test_removing_the_ct_during_the_work_cancels_it(self, desk):
        desk.logic.start(desk.node)
        desk.scene.RemoveNode(desk.node)
        assert desk.logic.wait(60)
        assert desk.ends[0][0] == "cancelled"

    def test_cancelling_leaves_no_node(self, desk):
        desk.logic.start(desk.node)
        desk.logic.cancel()
        assert desk.logic.wait(60)
        assert desk.ends == [("cancelled", "Cancelled by the user.")]
        assert desk.ids() == desk.before

    def test_what_is_wrong_is_said_at_once(self, desk):
        with pytest.raises(InputError, match="No volume"):
            desk.logic.start(None)
        with pytest.raises(ConfigError, match="regoin"):
            desk.logic.start(desk.node, {"regoin": 1})
        with pytest.raises(UsageError, match="no feature maps yet"):
            desk.logic.show(Selection("e1"))

    def test_a_worker_that_fails_is_said(self, desk):
        end, error = desk.look(pairs=["e99"])
        assert end == "failed"
        assert "e99" in error.message
        assert desk.ids() == desk.before

    def test_a_student_alone_has_one_view(self, jobs, tmp_path):
        desk = Desk(engine_of(write_viewer_package(tmp_path, teacher=False), jobs))
        end, maps = desk.look()
        assert end == "finished"
        assert maps.roles == ("student",)
        assert "difference" not in maps.kinds("e1")
        assert desk.foreground("student") is not None
        desk.logic.close()
