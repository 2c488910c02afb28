"""The life of a run: it starts, reports, ends in one way, and never leaves half of a result."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from hlfd.errors import CancelledError, EmptyInputError, GeometryError, HlfdError, InputError, UsageError
from hlfd.events import Progress, Stage, Warn
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
logic_module = pytest.importorskip("HLFDSegmentLib.segment_logic")
volumes = pytest.importorskip("HLFDSegmentLib.volumes")
SegmentLogic, State, Outputs = logic_module.SegmentLogic, logic_module.State, logic_module.Outputs


class ThresholdEngine:
    """Calls everything above 100 HU left kidney; waits for ``go`` so that a test decides when it ends."""

    def __init__(self):
        self.go = threading.Event()
        self.go.set()
        self.running = threading.Event()
        self.volume = None

    def run(self, volume, on_event, cancel):
        self.volume = volume
        on_event(Stage("threshold"))
        self.running.set()
        while not self.go.wait(0.01):
            cancel.check()
        on_event(Progress(1, 1, 0.0))
        on_event(Warn("only a threshold"))
        array = (volume.array > 100).astype(np.uint8)
        return self.result(LabelMap(array, volume.affine, KIDNEY_LABELS))

    @staticmethod
    def result(label_map):
        voxels = int(label_map.array.sum())
        structures = (Structure("left kidney", 1, voxels, voxels * label_map.voxel_ml, 10.0, 150.0, 0.0),)
        lesions = (Lesion(1, "kidney tumor", 2, "left", 1.0, 9.0, 8.0, 7.0, 150.0, 0.0, (1.0, 2.0, 3.0)),)
        return SegmentationResult(label_map, structures, lesions, "threshold", "1", True, "cpu", "numpy", "box", {})


class StubbornEngine(ThresholdEngine):
    """Never looks at the cancel token."""

    def run(self, volume, on_event, cancel):
        self.running.set()
        self.go.wait(30)
        return self.result(LabelMap((volume.array > 100).astype(np.uint8), volume.affine, KIDNEY_LABELS))


class BrokenEngine(ThresholdEngine):
    """Fails with the given error."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def run(self, volume, on_event, cancel):
        raise self.error


class Log:
    """Everything that a logic's signals said."""

    def __init__(self, logic):
        self.events, self.ends = [], []
        logic.event.connect(self.events.append)
        logic.finished.connect(lambda segmented: self.ends.append(("finished", segmented)))
        logic.failed.connect(lambda error: self.ends.append(("failed", error)))
        logic.cancelled.connect(lambda reason: self.ends.append(("cancelled", reason)))


@pytest.fixture
def volume_node(scene, straight_volume):
    return volumes.volume_to_node(scene, straight_volume)


@pytest.fixture
def engine():
    return ThresholdEngine()


@pytest.fixture
def logic(scene, engine):
    logic = SegmentLogic(scene, engine)
    yield logic
    engine.go.set()
    assert logic.close()


@pytest.fixture
def log(logic):
    return Log(logic)


def node_ids(scene):
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def hold(engine, logic, node, outputs=None):
    engine.go.clear()
    logic.start(node, outputs)
    assert engine.running.wait(30)


def test_a_run_ends_with_segmentation_surfaces_and_tables(logic, log, volume_node, straight_label_map):
    logic.start(volume_node)
    assert logic.wait(30)
    ((end, segmented),) = log.ends
    assert end == "finished"
    mask = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmented.segmentation_node, "left_kidney")
    assert np.count_nonzero(mask == 1) == np.count_nonzero(straight_label_map.array)
    assert segmented.segmentation_node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert segmented.lesions_table.GetNumberOfRows() == 1
    assert segmented.structures_table.GetName() == "abdomen structures"
    assert logic.state is State.IDLE


def test_events_arrive_in_the_owners_thread_and_in_order(logic, volume_node):
    heard = []
    logic.event.connect(lambda event: heard.append((threading.current_thread(), event)))
    logic.start(volume_node)
    logic.wait(30)
    assert {thread for thread, _ in heard} == {threading.current_thread()}
    assert [type(event) for _, event in heard] == [Stage, Progress, Warn, Stage, Stage]


def test_the_scene_is_untouched_until_poll(logic, engine, volume_node, scene):
    before = node_ids(scene)
    logic.start(volume_node)
    assert engine.running.wait(30)
    assert node_ids(scene) == before
    assert logic.state is State.RUNNING
    logic.wait(30)
    assert len(node_ids(scene)) > len(before)


def test_the_engine_works_on_a_copy(logic, engine, volume_node):
    hold(engine, logic, volume_node)
    slicer.util.arrayFromVolume(volume_node)[:] = 0
    assert engine.volume.array.max() == 150


def test_a_second_start_is_refused_and_the_first_goes_on(logic, log, engine, volume_node):
    hold(engine, logic, volume_node)
    with pytest.raises(UsageError, match="still running"):
        logic.start(volume_node)
    with pytest.raises(UsageError, match="still running"):
        logic.run_blocking(volume_node)
    engine.go.set()
    logic.wait(30)
    assert [end for end, _ in log.ends] == ["finished"]


def test_cancel_leaves_no_node(logic, log, engine, volume_node, scene):
    before = node_ids(scene)
    hold(engine, logic, volume_node)
    logic.cancel()
    assert logic.state is State.CANCELLING
    assert logic.wait(30)
    assert log.ends == [("cancelled", "Cancelled by the user.")]
    assert node_ids(scene) == before


def test_a_result_that_comes_after_cancel_is_dropped(scene, volume_node):
    engine = StubbornEngine()
    logic = SegmentLogic(scene, engine)
    log, before = Log(logic), node_ids(scene)
    hold(engine, logic, volume_node)
    logic.cancel()
    assert not logic.close(timeout=0.1)
    engine.go.set()
    assert logic.wait(30)
    assert [end for end, _ in log.ends] == ["cancelled"]
    assert node_ids(scene) == before


def test_a_run_can_follow_a_cancelled_one(logic, log, engine, volume_node):
    hold(engine, logic, volume_node)
    logic.cancel()
    logic.wait(30)
    engine.go.set()
    logic.start(volume_node)
    logic.wait(30)
    assert [end for end, _ in log.ends] == ["cancelled", "finished"]


def test_a_slot_of_finished_may_start_the_next_run(logic, volume_node):
    finished = []

    def again(segmented):
        finished.append(segmented)
        if len(finished) == 1:
            logic.start(volume_node)

    logic.finished.connect(again)
    logic.start(volume_node)
    assert logic.wait(30)
    assert len(finished) == 2


def test_closing_the_scene_during_a_run_cancels_it(logic, log, engine, volume_node, scene):
    hold(engine, logic, volume_node)
    scene.Clear()
    before = node_ids(scene)
    assert logic.wait(30)
    ((end, reason),) = log.ends
    assert end == "cancelled"
    assert "removed from the scene" in reason
    assert node_ids(scene) == before


def test_removing_the_volume_during_a_run_cancels_it(logic, log, engine, volume_node, scene):
    hold(engine, logic, volume_node)
    scene.RemoveNode(volume_node)
    assert logic.wait(30)
    assert log.ends[0][0] == "cancelled"


def test_a_result_whose_output_node_was_removed_goes_into_a_new_one(logic, log, engine, volume_node, scene):
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output")
    hold(engine, logic, volume_node, Outputs(segmentation_node=output))
    scene.RemoveNode(output)
    engine.go.set()
    logic.wait(30)
    ((end, segmented),) = log.ends
    assert end == "finished"
    assert segmented.segmentation_node is not output
    assert segmented.segmentation_node.GetScene() is scene


def test_a_second_run_into_the_same_node_adds_nothing(logic, log, volume_node, scene):
    logic.start(volume_node)
    logic.wait(30)
    first = log.ends[0][1]
    before = node_ids(scene)
    logic.start(volume_node, Outputs(segmentation_node=first.segmentation_node))
    logic.wait(30)
    assert log.ends[1][1].lesions_table is first.lesions_table
    assert node_ids(scene) == before


def test_an_image_exchanged_during_the_run_is_a_clear_failure(logic, log, engine, volume_node, scene):
    hold(engine, logic, volume_node)
    slicer.util.updateVolumeFromArray(volume_node, np.zeros((3, 4, 5), np.int16))
    before = node_ids(scene)
    engine.go.set()
    logic.wait(30)
    ((end, error),) = log.ends
    assert end == "failed"
    assert isinstance(error, GeometryError)
    assert node_ids(scene) == before


def test_a_failure_after_the_segmentation_was_added_takes_it_away_again(logic, log, engine, volume_node, scene):
    class WithoutRow:
        """A structure that the tables cannot read."""

    before = node_ids(scene)
    whole = ThresholdEngine.result

    def spoilt(label_map):
        return SegmentationResult(**{**vars(whole(label_map)), "structures": (WithoutRow(),)})

    engine.result = spoilt
    logic.start(volume_node)
    logic.wait(30)
    ((end, error),) = log.ends
    assert end == "failed"
    assert error.code == "internal"
    assert node_ids(scene) == before


@pytest.mark.parametrize("blocking", [False, True])
def test_an_error_of_the_engine_is_passed_on(scene, volume_node, blocking):
    cause = GeometryError("The affine is odd.", "Resample.")
    logic = SegmentLogic(scene, BrokenEngine(cause))
    log, before = Log(logic), node_ids(scene)
    if blocking:
        with pytest.raises(GeometryError, match="odd"):
            logic.run_blocking(volume_node)
    else:
        logic.start(volume_node)
        logic.wait(30)
    assert log.ends == [("failed", cause)]
    assert node_ids(scene) == before
    assert logic.state is State.IDLE


def test_an_unexpected_error_becomes_one_that_names_it(scene, volume_node):
    logic = SegmentLogic(scene, BrokenEngine(ZeroDivisionError("by zero")))
    log = Log(logic)
    logic.start(volume_node)
    logic.wait(30)
    ((_, error),) = log.ends
    assert isinstance(error, HlfdError)
    assert "unexpected ZeroDivisionError: by zero" in error.message
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_a_volume_without_image_is_refused_at_once(logic, scene):
    with pytest.raises(EmptyInputError):
        logic.start(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    assert logic.state is State.IDLE


def test_no_volume_is_refused_at_once(logic):
    with pytest.raises(InputError, match="No volume"):
        logic.start(None)


def test_run_blocking_returns_the_nodes(logic, log, volume_node):
    segmented = logic.run_blocking(volume_node, Outputs(surfaces=False, tables=False))
    assert not segmented.segmentation_node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert segmented.structures_table is None
    assert log.ends == [("finished", segmented)]


def test_run_blocking_can_be_cancelled_from_a_slot(logic, log, volume_node, scene):
    before = node_ids(scene)
    logic.event.connect(lambda event: logic.cancel())
    with pytest.raises(CancelledError):
        logic.run_blocking(volume_node)
    assert [end for end, _ in log.ends] == ["cancelled"]
    assert node_ids(scene) == before


def test_the_engine_sees_the_volume_where_its_parent_transform_puts_it(logic, engine, volume_node, scene):
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(volumes.array_to_matrix(matrix))
    own = volumes.node_affine(volume_node)
    volume_node.SetAndObserveTransformNodeID(transform.GetID())
    segmented = logic.run_blocking(volume_node)
    assert np.allclose(engine.volume.affine, matrix @ own)
    assert segmented.segmentation_node.GetParentTransformNode() is transform
