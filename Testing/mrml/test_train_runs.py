"""A training in the scene: curves, example slice, result table and views, from a real run in its own process."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'hlfd[train]'")

from hlfd.errors import UsageError
from hlfd.jobs import Jobs
from hlfd.runs import State
from HLFDTrainLib.compare_view import VIEWS
from HLFDTrainLib.curve_nodes import CurveNodes
from HLFDTrainLib.live_view import PLOTS, SAMPLE
from HLFDTrainLib.result_logic import ResultLogic
from HLFDTrainLib.result_table import MEAN, table_rows
from HLFDTrainLib.sample_view import LABEL_COLOUR, draw_sample, outline
from HLFDTrainLib.train_logic import TrainLogic
from Testing.tiny_training import QUICK, training_place

POLL_S = 0.02


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with a run that is finished."""
    with training_place(tmp_path_factory.mktemp("training")) as root:
        yield root / "project"


@pytest.fixture
def logic(scene):
    made = TrainLogic(scene)
    yield made
    made.close()


class Heard:
    """What the signals of a logic told."""

    def __init__(self, logic: TrainLogic) -> None:
        self.states: list[State] = []
        self.results: list[dict] = []
        self.errors: list[Exception] = []
        self.metrics: list[tuple[int, dict]] = []
        self.samples: list = []
        self.progress: list[tuple] = []
        logic.state_changed.connect(self.states.append)
        logic.finished.connect(self.results.append)
        logic.failed.connect(self.errors.append)
        logic.metric.connect(lambda step, values: self.metrics.append((step, values)))
        logic.sampled.connect(self.samples.append)
        logic.progress.connect(lambda done, total, left: self.progress.append((done, total)))


def follow(logic: TrainLogic, seconds: float = 300.0) -> float:
    """Poll until the run rests; return the longest poll in seconds of this thread's work."""
    end, longest = time.monotonic() + seconds, 0.0
    while logic.state is None or logic.state.active:
        assert time.monotonic() < end, logic.run.log_tail()
        worked = time.thread_time()
        logic.poll()
        longest = max(longest, time.thread_time() - worked)
        time.sleep(POLL_S)
    return longest


@pytest.fixture(scope="module")
def finished(project):
    """The result of a run that was followed from its start, and what was heard meanwhile."""
    from HLFDSegmentLib.headless import HeadlessScene

    application = HeadlessScene()
    logic = TrainLogic(application.scene)
    heard = Heard(logic)
    logic.start(project, QUICK)
    logic.live.enter()
    heard.longest_poll = follow(logic)
    assert heard.results, f"{heard.errors} {logic.run.log_tail()}"
    heard.charts = {kind: logic.curves.chart(kind).GetNumberOfPlotSeriesNodes() for kind in PLOTS}
    heard.run = logic.run
    heard.node_shape = logic.samples.node.GetImageData().GetDimensions()
    logic.live.update()
    heard.shown = logic.live._views.composite(SAMPLE).GetBackgroundVolumeID() == logic.samples.node.GetID()
    logic.close()
    heard.left = application.scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode")
    return heard


class TestFollowing:
    def test_states_lead_to_one_result(self, finished):
        assert finished.states[-1] is State.FINISHED
        assert len(finished.results) == 1
        assert finished.errors == []

    def test_curves_and_example_are_shown_and_gone_afterwards(self, finished):
        assert finished.charts["dice"] == 4  # mean, kidney, tumor, cyst
        assert finished.charts["loss"] >= 2
        assert finished.node_shape[0] >= 200
        assert finished.shown
        assert finished.left == 0

    def test_numbers_and_progress_are_told(self, finished):
        assert any("dice/tumor" in values for _, values in finished.metrics)
        assert finished.metrics[0][0] == 0
        assert finished.progress[-1][0] <= finished.progress[-1][1]

    def test_no_poll_keeps_the_application_waiting(self, finished):
        assert finished.longest_poll < 0.1

    def test_a_later_session_finds_nothing_to_resume_and_draws_the_same_curves(self, finished, project, logic):
        heard = Heard(logic)
        assert logic.find(project) is None
        logic.attach(logic.runs(project)[-1])
        assert heard.metrics == finished.metrics
        assert len(heard.results) == 1
        assert len(logic.curves.values("dice", "dice")) == len({step for step, v in heard.metrics if "dice" in v})

    def test_without_a_run_there_is_nothing_to_pause(self, logic):
        assert logic.poll() is None
        with pytest.raises(UsageError, match="no training"):
            logic.pause()


class TestResult:
    @pytest.fixture
    def shown(self, scene):
        made = ResultLogic(scene)
        yield made
        made.close()

    def wait(self, logic: ResultLogic) -> None:
        end = time.monotonic() + 60
        while logic.busy:
            assert time.monotonic() < end
            logic.poll()
            time.sleep(POLL_S)

    def test_the_table_has_means_and_cases_before_and_after(self, finished, shown):
        table = shown.table(finished.results[0])
        assert table.GetNumberOfColumns() == 8
        assert table.GetCellText(0, 0) == MEAN
        assert table.GetNumberOfRows() == len(table_rows(finished.results[0]))
        assert shown.table(finished.results[0]) is table

    def test_a_case_is_shown_with_old_new_and_reference_side_by_side(self, finished, shown, scene):
        cases = []
        shown.shown.connect(cases.append)
        shown.show_case(finished.results[0], "case-0003")
        with pytest.raises(UsageError, match="already"):
            shown.show_case(finished.results[0], "case-0003")
        self.wait(shown)
        assert cases == ["case-0003"]
        view = shown._view
        assert set(view.segmentations) == set(VIEWS)
        for side, tag in VIEWS.items():
            display = view.segmentations[side].GetDisplayNode()
            assert display.IsDisplayableInView(scene.GetSingletonNode(tag, "vtkMRMLSliceNode").GetID())
            others = [other for other in VIEWS if other != side]
            assert not any(
                display.IsDisplayableInView(scene.GetSingletonNode(VIEWS[o], "vtkMRMLSliceNode").GetID())
                for o in others
            )
        assert view.segmentations["reference"].GetSegmentation().GetNumberOfSegments() == 4
        shown.leave()
        assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
        assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

    def test_whoever_goes_back_before_a_case_is_there_finds_nothing_of_it(self, finished, shown, scene):
        cases, errors = [], []
        shown.shown.connect(cases.append)
        shown.failed.connect(errors.append)
        shown.show_case(finished.results[0], "case-0003")
        shown.poll()
        shown.leave()
        self.wait(shown)
        assert (cases, errors) == ([], [])
        assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0

    def test_the_model_is_registered(self, finished, shown):
        packages = []
        shown.registered.connect(packages.append)
        shown.register(finished.run)
        self.wait(shown)
        assert [(package.name, package.version) for package in packages] == [("tiny", "1.0.0.1")]

    def test_what_goes_wrong_is_told(self, finished, shown, tmp_path):
        errors = []
        shown.failed.connect(errors.append)
        (tmp_path / "file").write_text("", encoding="utf-8")
        shown.export(finished.run, "zip", tmp_path / "file" / "model.zip")
        self.wait(shown)
        assert errors[0].code == "output_failed"


def test_an_estimate_comes_from_the_worker(project, scene):
    jobs = Jobs()
    logic = TrainLogic(scene, jobs)
    estimates, errors = [], []
    logic.estimated.connect(estimates.append)
    logic.failed.connect(errors.append)
    try:
        logic.estimate(project, QUICK)
        end = time.monotonic() + 240
        while not estimates and not errors:
            assert time.monotonic() < end
            logic.poll()
            time.sleep(POLL_S)
    finally:
        logic.close()
        jobs.close()
    assert errors == []
    found = estimates[0]
    assert (found["steps"], found["patch"], found["device"]) == (QUICK.steps, 16, "cpu")
    assert found["seconds_per_step"] > 0
    assert 0 < found["memory_mb"] < 500


class TestCurves:
    def test_a_step_that_is_done_again_replaces_the_old_one(self, scene):
        curves = CurveNodes(scene)
        curves.add([(1, {"loss": 2.0, "loss/kd": 1.0}), (2, {"loss": 1.5})])
        curves.add([(2, {"loss": 1.0}), (2, {"dice": 0.5, "dice/tumor": 0.25})])
        assert curves.values("loss", "loss") == [(1, 2.0), (2, 1.0)]
        assert curves.names("dice") == ["dice", "dice/tumor"]
        assert curves.chart("loss").GetNumberOfPlotSeriesNodes() == 2
        curves.clear()
        assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 0

    def test_nothing_is_saved_with_the_scene(self, scene):
        curves = CurveNodes(scene)
        curves.add([(1, {"loss": 2.0})])
        nodes = [scene.GetNthNodeByClass(0, f"vtkMRML{kind}Node") for kind in ("Table", "PlotSeries", "PlotChart")]
        assert not any(node.GetSaveWithScene() for node in nodes)


class TestExampleSlice:
    def test_labels_are_outlined_and_the_prediction_is_coloured(self):
        image = np.full((8, 8), 40, np.int16)
        label, prediction = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
        label[2:6, 2:6] = 1
        prediction[3:5, 3:5] = 1
        picture = draw_sample(image, label, prediction)
        assert picture.shape == (256, 256, 3)
        assert tuple(picture[64, 64]) == LABEL_COLOUR
        assert len(set(picture[4 * 32, 4 * 32].tolist())) > 1
        assert len(set(picture[10, 10].tolist())) == 1

    def test_an_outline_lies_inside_of_its_label(self):
        label = np.zeros((5, 5), np.uint8)
        label[1:4, 1:4] = 1
        edge = outline(label)
        assert not edge[2, 2]
        assert edge.sum() == 8
