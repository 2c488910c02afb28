"""A person distils a student from scratch on a data set folder, and hands models on to others."""

from __future__ import annotations

import pytest

from hlfd.models.install import install
from hlfd.runs import State
from Testing.tiny_training import write_tiny_data_set, write_tiny_recipe

PATIENCE_S = 500.0  # on a machine that others use too


def wait_for_run(person) -> None:
    """Wait for the end of the training that is followed."""
    training = person.panel.training
    person.wait_until(lambda: training.state is not None and not training.state.active, PATIENCE_S)
    assert training.state is State.FINISHED, f"{training.run.error} {training.run.log_tail()}"


def wait_for_result(person) -> None:
    person.wait_until(lambda: not person.panel.result.logic.busy, PATIENCE_S)
    assert person.dialogs.shown == []


@pytest.mark.slow
def test_a_student_is_distilled_from_scratch_on_a_data_set_and_used(trainer, tmp_path):
    import slicer

    ui = trainer.ui
    trainer.create_project(tmp_path / "my cases")
    ui.scratchSection.collapsed = False
    ui.recipePath.currentPath = str(write_tiny_recipe(tmp_path / "own.yaml"))
    ui.dataPath.currentPath = str(write_tiny_data_set(tmp_path / "data set"))
    trainer.click(ui.scratchButton)
    assert trainer.dialogs.shown == []
    trainer.wait_until(lambda: bool(ui.runLog.toPlainText()), PATIENCE_S)
    trainer.wait_until(lambda: "Training the teacher" in ui.runStage.text, PATIENCE_S)
    trainer.picture("scratch-running")
    wait_for_run(trainer)
    assert trainer.dialogs.shown == []
    assert [row[2] for row in trainer.rows(ui.stepTable)] == ["done"] * 7
    said = ui.runLog.toPlainText()
    for words in (
        "Training the network that finds the organ",
        "Computing what the teacher says",
        "Training the student",
    ):
        assert words in said
    steps = [step for step, _ in trainer.panel.training.curves.values("dice", "dice")]
    assert steps == [2, 4]  # of the student alone
    assert "Mean Dice on 2 cases that it did not learn from: kidney and masses" in ui.resultLabel.text
    trainer.picture("scratch-result")
    trainer.click(ui.useButton)
    wait_for_result(trainer)
    segment = slicer.modules.hlfdsegment.widgetRepresentation().self()
    assert "own/1.0.0" in segment.ui.modelSelector.currentText


@pytest.mark.slow
def test_a_fine_tuned_model_is_exported_as_a_zip_and_as_a_bundle(trainer, tmp_path):
    ui = trainer.ui
    trainer.create_project(tmp_path / "my cases")
    for number in range(3):
        trainer.add_case(number, role=number)
    ui.advancedSection.collapsed = False
    ui.stepsSpin.value, ui.patchSpin.value, ui.replaySpin.value = 2, 16, 0.0
    trainer.click(ui.trainButton)
    wait_for_run(trainer)

    trainer.files.answers = ["", str(tmp_path / "for a colleague.zip"), str(tmp_path)]
    trainer.click(ui.exportZipButton)  # and changed their mind
    assert not trainer.panel.result.logic.busy
    trainer.click(ui.exportZipButton)
    wait_for_result(trainer)
    assert str(tmp_path / "for a colleague.zip") in ui.resultLabel.text
    imported = install(tmp_path / "for a colleague.zip")
    assert (imported.name, imported.version) == ("tiny", "1.0.0.1")

    trainer.click(ui.exportBundleButton)
    assert not ui.exportBundleButton.enabled
    wait_for_result(trainer)
    bundle = tmp_path / "tiny-1.0.0.1"
    assert str(bundle) in ui.resultLabel.text
    assert "inference" in {path.stem for path in (bundle / "configs").iterdir()}
    assert list((bundle / "models").iterdir())
    ui.casesSection.collapsed = ui.trainSection.collapsed = True
    trainer.picture("result-exported")
