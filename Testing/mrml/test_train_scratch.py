"""A training of several networks, one after the other, is told in words and drawn one network at a time."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed: pip install 'hlfd[slicer]'")

from hlfd.events import Metric, Stage
from hlfd.files import write_json
from hlfd.runs import DistilSettings, Run, State
from hlfd.runs.recorder import Recorder
from hlfd.runs.settings import write_settings
from HLFDTrainLib.choices import StageWords
from HLFDTrainLib.result_table import measured
from HLFDTrainLib.train_logic import TrainLogic


class TestWords:
    def test_a_training_is_called_by_its_network_whatever_the_fold(self):
        words = StageWords()
        said = [words.of(stage) for stage in ("fold 0: teacher", "train", "validate", "train")]
        assert said == ["Training the teacher", "Training the teacher", "Validating", "Training the teacher"]

    def test_what_follows_a_network_is_not_called_by_it(self):
        words = StageWords()
        for stage in ("fold 1: teacher", "train", "fold 1: cache"):
            words.of(stage)
        assert words.of("train") == "Training"

    def test_a_stage_without_words_is_shown_as_it_is(self):
        assert StageWords().of("unheard of") == "Unheard of"


def test_the_curves_are_those_of_the_network_that_is_trained(scene, tmp_path):
    run = Run(tmp_path / "runs" / "run-0001")
    run.folder.mkdir(parents=True)
    write_settings(run.files.settings, DistilSettings("kits23"))
    recorder = Recorder(run.files.events)
    for stage, numbers in (("teacher", {2: 0.3, 4: 0.5}), ("distil", {1: 0.4, 3: 0.6})):
        recorder.on_event(Stage(f"fold 0: {stage}"))
        recorder.on_event(Stage("train"))
        for step, dice in numbers.items():
            recorder.on_event(Metric(step, {"validation/dice": dice}))
    write_json(run.files.state, {"state": State.CANCELLED.value})
    logic, stages = TrainLogic(scene), []
    logic.stage.connect(stages.append)
    logic.attach(run)
    assert logic.curves.values("dice", "dice") == [(1, 0.4), (3, 0.6)]
    assert stages == ["fold 0: teacher", "fold 0: distil", "train"]
    logic.close()


class TestScores:
    def test_are_the_mean_dice_of_the_cases_that_were_not_learned_from(self):
        scores = {
            "cases": 12,
            "folds_evaluated": 1,
            "dice_between_folds": {"tumor": {"mean": 0.71, "sd": 0.0}},
            "kidney_and_masses": {"dice": 0.934, "nsd_1mm": 0.9},
            "tumor": {"dice": 0.712},
            "cyst": {"dice": None},
        }
        assert measured({"cross_validation": scores}) == (12, "kidney and masses 0.93, tumor 0.71")

    def test_are_none_where_nothing_was_scored(self):
        assert measured({"refiner_validation_patches": {"dice": 0.8}}) == (0, "")
