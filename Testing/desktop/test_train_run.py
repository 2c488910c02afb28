"""A person trains on own cases with the real panel and the real process: follows, pauses, comes back, and uses it."""

from __future__ import annotations

import pytest

from hlfd.runs import State

BLOCK_S = 0.1
PATIENCE_S = 400.0  # on a machine that others use too


@pytest.fixture
def ready(trainer, tmp_path):
    """A person with three cases, who wants a training of a few steps."""
    trainer.folder = trainer.create_project(tmp_path / "my cases")
    for number, role in enumerate((0, 1, 2)):
        trainer.add_case(number, role=role)
    want_steps(trainer, 6)
    return trainer


def want_steps(person, steps: int) -> None:
    ui = person.ui
    ui.advancedSection.collapsed = False
    ui.stepsSpin.value, ui.patchSpin.value, ui.replaySpin.value = steps, 16, 0.0


def state(person) -> State | None:
    return person.panel.training.state


def wait_for_end(person, seconds: float = PATIENCE_S) -> None:
    person.wait_until(lambda: state(person) is not None and not state(person).active, seconds)


def start(person) -> None:
    person.click(person.ui.trainButton)
    assert person.dialogs.shown == []


def test_a_training_is_followed_to_its_result_and_the_model_is_used(ready, capsys):
    import slicer

    ui = ready.ui
    ready.longest_block = ready.longest_work = 0.0
    start(ready)
    assert ui.pauseButton.visible
    assert ui.cancelRunButton.visible
    assert not ui.trainButton.enabled
    ui.liveBox.checked = True
    ready.wait_until(lambda: ui.liveLabel.text.startswith("Step") and "Step 0" not in ui.liveLabel.text, PATIENCE_S)
    ui.addSection.collapsed = ui.advancedSection.collapsed = True
    ready.picture("train-running")
    wait_for_end(ready)
    with capsys.disabled():
        print(f"\nlongest work between two looks at Qt: {1000 * ready.longest_work:.0f} ms")
    assert ready.longest_work < BLOCK_S
    assert ready.dialogs.shown == []
    curves = ready.panel.training.curves
    assert curves.values("dice", "dice")
    assert any(curves.values("loss", name) for name in curves.names("loss"))
    assert ready.panel.training.samples.picture is not None
    assert "tiny 1.0.0.1" in ui.resultLabel.text
    rows = ready.rows(ui.resultTable)
    assert {"all, mean", "scan 2"} == {row[0] for row in rows}
    assert all("\u2192" in row[2] for row in rows)
    ui.casesSection.collapsed = ui.trainSection.collapsed = True
    ready.picture("train-result")

    ready.click(ui.overlayButton)
    ready.wait_until(lambda: not ready.panel.result.logic.busy)
    assert ready.dialogs.shown == []
    if ui.warningLabel.text:
        import qt

        ready.dialogs.answers = [qt.QMessageBox.Ok]
    ready.click(ui.useButton)
    ready.wait_until(lambda: not ready.panel.result.logic.busy)
    segment = slicer.modules.hlfdsegment.widgetRepresentation().self()
    assert "tiny/1.0.0.1" in segment.ui.modelSelector.currentText
    assert "HLFD Segment uses it" in ui.resultLabel.text


def test_a_training_is_paused_slicer_closed_and_the_training_resumed(ready, standin):
    from conftest import Trainer

    want_steps(ready, 400)
    start(ready)
    ready.wait_until(lambda: "Step" in ready.ui.liveLabel.text, PATIENCE_S)
    ready.click(ready.ui.pauseButton)
    ready.wait_until(lambda: state(ready) is State.PAUSED, 120)
    assert ready.ui.pauseButton.text == "Resume"
    ready.leave()

    again = Trainer(standin.Desktop())
    try:
        again.wait_for_task()
        assert state(again) is State.PAUSED
        assert again.ui.runStage.text.startswith("Paused")
        again.click(again.ui.pauseButton)
        again.wait_until(lambda: state(again) is State.RUNNING, 120)
        assert again.ui.pauseButton.text == "Pause"
        again.dialogs.answers = answers_ok()
        again.click(again.ui.cancelRunButton)
        again.wait_until(lambda: state(again) is State.CANCELLED, 60)
        assert again.ui.runStage.text == "Cancelled."
        assert again.ui.trainButton.enabled
    finally:
        again.stop()
        again.leave()


def answers_ok() -> list:
    import qt

    return [qt.QMessageBox.Ok]


def test_a_training_goes_on_while_slicer_is_closed(ready, standin):
    from conftest import Trainer

    want_steps(ready, 30)
    start(ready)
    ready.wait_until(lambda: state(ready) is State.RUNNING, 60)
    ready.leave()
    again = Trainer(standin.Desktop())
    try:
        again.wait_for_task()
        wait_for_end(again)
        assert state(again) is State.FINISHED
        assert again.ui.useButton.enabled
    finally:
        again.stop()
        again.leave()


def test_a_second_training_is_refused_and_the_first_is_named(ready, tmp_path):
    want_steps(ready, 400)
    start(ready)
    first = ready.panel.training.run
    ready.panel.training.detach()
    ready.panel.show()
    ready.click(ready.ui.trainButton)
    assert "A training is running already: run-0001" in ready.dialogs.shown[-1]
    first.kill()


def test_an_estimate_tells_time_and_memory(ready):
    ready.click(ready.ui.estimateButton)
    ready.wait_until(lambda: not ready.panel.run.estimating, 120)
    assert ready.dialogs.shown == []
    assert "steps of" in ready.ui.estimateLabel.text


def test_the_commands_can_be_copied(ready):
    import slicer

    ready.click(ready.ui.copyRunButton)
    command = slicer.app.clipboard().text()
    assert command.startswith("hlfd finetune tiny/1.0.0 --data ")
    assert "--steps 6" in command
    ready.ui.recipePath.currentPath = "kits23"
    ready.ui.processSpin.value = 4
    ready.ui.stepTable.selectRow(2)
    ready.click(ready.ui.copyCommandButton)
    command = slicer.app.clipboard().text()
    assert "torchrun --standalone --nproc-per-node=4 -m hlfd train kits23" in command
    assert "--stages teacher" in command


def test_steps_without_a_recipe_are_refused_in_words(ready):
    ready.click(ready.ui.scratchButton)
    assert "No recipe is chosen." in ready.dialogs.shown[-1]
