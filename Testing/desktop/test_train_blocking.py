"""Whatever a person does in HLFD Train with scans of full size, Slicer stays usable."""

from __future__ import annotations

import time

import pytest

from hlfd.runs import State
from Testing.tiny_training import draw_case, enlarged

SHAPE = (200, 512, 512)
BLOCK_S, ADD_S = 0.1, 3.0
PATIENCE_S = 500.0  # on a machine that others use too


class Stopwatch:
    """Prints what a person waits for, and how long Qt could not react meanwhile."""

    def __init__(self, person, capsys) -> None:
        self.person, self.capsys = person, capsys
        self.work: dict[str, float] = {}

    def __call__(self, what: str, begin, ended) -> float:
        """Do ``begin``, wait until ``ended``, and return the processor time that this program took for it."""
        person = self.person
        person.longest_block = person.longest_work = 0.0
        start, busy = time.perf_counter(), time.process_time()
        begin()
        person.wait_until(ended, PATIENCE_S)
        waited, busy = time.perf_counter() - start, time.process_time() - busy
        self.work[what] = person.longest_work
        with self.capsys.disabled():
            print(
                f"\n{what}: {waited:.2f} s, {busy:.2f} s of work here; Qt could not react for "
                f"{1000 * person.longest_block:.0f} ms at most, worked {1000 * person.longest_work:.0f} ms of them"
            )
        assert person.dialogs.shown == []
        return busy


@pytest.mark.slow
def test_scans_of_full_size_never_block_the_application(trainer, tmp_path, capsys):
    import slicer
    from test_results import SegmentEditor

    from HLFDSegmentLib.segmentations import segmentation_from_label_map
    from HLFDSegmentLib.volumes import volume_to_node

    slicer.modules.segmenteditor = SegmentEditor()
    ui, panel, watch = trainer.ui, trainer.panel, Stopwatch(trainer, capsys)
    trainer.create_project(tmp_path / "my cases")
    for number in range(2):
        trainer.add_case(number, role=number)
    volume, labels = enlarged(*draw_case(2), SHAPE)
    volume_node = volume_to_node(trainer.desktop.scene, volume, "large")
    segmentation = segmentation_from_label_map(trainer.desktop.scene, labels, volume_node)
    del volume, labels

    def choose() -> None:
        with trainer.noting_blocks():
            ui.addVolume.setCurrentNode(volume_node)
            ui.addSegmentation.setCurrentNode(segmentation)

    watch("choosing a segmentation of 512 x 512 x 200", choose, lambda: ui.mappingTable.rowCount == 4)
    ui.addRole.setCurrentIndex(2)
    worked = watch("adding the case", lambda: trainer.click(ui.addButton), lambda: not panel.cases.task)
    assert worked < ADD_S
    trainer.select_case(2)
    watch("loading it for the editor", lambda: trainer.click(ui.editCaseButton), lambda: not panel.cases.task)
    trainer.wait_for_task()

    ui.advancedSection.collapsed = False
    ui.stepsSpin.value, ui.patchSpin.value, ui.replaySpin.value = 2, 16, 0.0
    training = panel.training
    watch("starting a training", lambda: trainer.click(ui.trainButton), lambda: training.state is State.RUNNING)
    ui.liveBox.checked = True
    watch("following it to its result", lambda: None, lambda: not training.state.active)
    assert training.state is State.FINISHED, training.run.log_tail()
    result = panel.result.logic
    watch("showing the outlines", lambda: trainer.click(ui.overlayButton), lambda: not result.busy)
    watch("going back", lambda: trainer.click(ui.leaveOverlayButton), lambda: not result.busy)
    watch("opening the project again", lambda: trainer.click(ui.projectButton), lambda: not panel.cases.task)
    assert {what: work for what, work in watch.work.items() if work > BLOCK_S} == {}
