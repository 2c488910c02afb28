"""A person makes a project in HLFD Train and collects cases: of the scene, of a data set, and the right ones next."""

from __future__ import annotations

import shutil
import time

import numpy as np
import pytest

from hlfd.io import write_label_map, write_volume
from hlfd.volume import Volume


@pytest.fixture
def project(trainer, tmp_path):
    """A person with an empty project."""
    trainer.folder = trainer.create_project(tmp_path / "my cases")
    return trainer


def mapping(person) -> dict[str, str]:
    """The table of segments and the label that each becomes."""
    table = person.ui.mappingTable
    rows = range(table.rowCount)
    return {table.item(row, 0).text(): table.cellWidget(row, 1).currentText for row in rows}


def correct(person, row: int, label: str) -> None:
    selector = person.ui.mappingTable.cellWidget(row, 1)
    names = [selector.itemText(index) for index in range(selector.count)]
    selector.setCurrentIndex(names.index(label))


class TestProject:
    def test_the_panel_says_what_to_do_first(self, trainer):
        assert "Choose an empty folder" in trainer.ui.projectLabel.text
        assert not trainer.ui.addButton.enabled
        assert not trainer.ui.trainButton.enabled
        trainer.picture("train-start")

    def test_a_student_that_is_a_demonstration_says_so(self, trainer):
        captions = [trainer.ui.startModel.itemText(index) for index in range(trainer.ui.startModel.count)]
        shipped = next(index for index, caption in enumerate(captions) if caption.startswith("Kidney, tumor and cyst"))
        trainer.ui.startModel.setCurrentIndex(shipped)
        assert "not for clinical use" in trainer.ui.modelNoticeLabel.text
        assert trainer.ui.modelNoticeLabel.visible

    def test_a_new_folder_becomes_a_project_with_the_labels_of_a_model(self, project):
        assert "left kidney, kidney tumor, kidney cyst, right kidney" in project.ui.projectLabel.text
        assert (project.folder / "project.json").is_file()
        assert project.ui.projectButton.text == "Open project"
        assert "tiny/1.0.0" in project.ui.startModel.currentText

    def test_a_folder_with_other_things_in_it_is_refused_in_words(self, trainer, tmp_path):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "cat.jpg").write_bytes(b"no project")
        trainer.ui.projectPath.currentPath = str(tmp_path / "photos")
        trainer.click(trainer.ui.projectButton)
        trainer.wait_for_task()
        assert "photos" in trainer.dialogs.shown[-1]
        assert trainer.panel.cases.project is None

    def test_the_project_of_last_time_is_open_after_slicer_was_closed(self, project, standin):
        from conftest import Trainer

        project.add_case()
        folder = project.folder
        project.leave()
        again = Trainer(standin.Desktop())
        try:
            again.wait_for_task()
            assert again.ui.projectPath.currentPath == str(folder)
            assert again.rows(again.ui.caseTable)[0][0] == "scan 0"
        finally:
            again.leave()


def test_a_project_of_100_cases_opens_without_blocking(project, capsys):
    project.add_case()
    first = project.folder / "cases" / "case-0001"
    for number in range(2, 101):
        copy = shutil.copytree(first, first.with_name(f"case-{number:04d}"))
        text = (copy / "case.json").read_text(encoding="utf-8")
        (copy / "case.json").write_text(text.replace("case-0001", copy.name), encoding="utf-8")
    project.longest_work, begun = 0.0, time.process_time()
    project.click(project.ui.projectButton)
    project.wait_for_task()
    worked = time.process_time() - begun
    assert project.ui.caseTable.rowCount == 100
    with capsys.disabled():
        print(f"\n100 cases: {worked:.2f} s of work, at most {1000 * project.longest_work:.0f} ms at a time")
    assert worked < 2.0
    assert project.longest_work < 0.1


class TestAddingACase:
    def test_what_was_drawn_becomes_a_case(self, project):
        project.choose(*project.draw_case())
        assert mapping(project)["kidney tumor"] == "kidney tumor"
        assert "left kidney" in project.ui.mappingLabel.text
        project.ui.addTitle.text = "first"
        project.click(project.ui.addButton)
        assert project.ui.caseBar.visible
        project.wait_for_task()
        case = project.panel.cases.cases[0]
        assert case.thumbnail.is_file()
        row = project.rows(project.ui.caseTable)[0]
        assert row[:2] == ["first", "Training"]
        assert f"kidney tumor {case.volumes_ml['kidney tumor']:.1f}" in row[2]
        assert project.ui.caseStage.text == "Added: first."
        assert project.ui.addTitle.text == ""

    def test_a_mapping_that_a_person_corrects_is_used(self, project):
        volume, segmentation = project.draw_case()
        segmentation.GetSegmentation().GetSegment("kidney_cyst").SetName("thing")
        project.choose(volume, segmentation)
        row = list(mapping(project)).index("thing")
        correct(project, row, "kidney tumor")
        project.click(project.ui.addButton)
        project.wait_for_task()
        assert project.dialogs.shown == []
        assert "kidney cyst" not in project.panel.cases.cases[0].volumes_ml

    def test_segments_that_came_meanwhile_are_shown_before_they_are_used(self, project):
        volume, segmentation = project.draw_case()
        project.choose(volume, segmentation)
        segmentation.GetSegmentation().AddEmptySegment("late", "tumour")
        project.click(project.ui.addButton)
        assert "other segments than the table showed" in project.dialogs.shown[-1]
        assert "tumour" in mapping(project)
        assert project.panel.cases.cases == ()

    def test_a_segmentation_of_another_scan_is_refused_with_the_reason(self, project):
        volume, _ = project.draw_case()
        _, other = project.draw_case(1, "other")
        moved = other.GetSegmentation()
        assert moved.GetNumberOfSegments() > 0
        array = np.full((6, 7, 8), 30, np.int16)
        from HLFDSegmentLib.volumes import volume_to_node

        far = np.diag([5.0, 5.0, 5.0, 1.0])
        far[:3, 3] = 4000.0
        elsewhere = volume_to_node(project.desktop.scene, Volume(array, far), "elsewhere")
        project.choose(elsewhere, other)
        project.click(project.ui.addButton)
        project.wait_for_task()
        assert project.panel.cases.cases == ()
        assert len(project.dialogs.shown) == 1
        assert volume is not None

    def test_an_image_that_is_a_case_already_is_refused_and_named(self, project):
        project.add_case(title="first")
        project.choose(*project.draw_case())
        project.click(project.ui.addButton)
        project.wait_for_task()
        assert 'as "first"' in project.dialogs.shown[-1]
        assert len(project.panel.cases.cases) == 1

    def test_cancel_leaves_no_half_case(self, project):
        project.choose(*project.draw_case())
        project.click(project.ui.addButton)
        project.click(project.ui.caseCancelButton)
        project.wait_for_task()
        assert len(list(project.folder.glob("cases/*/case.json"))) == len(project.panel.cases.cases)
        assert project.dialogs.shown == []


class TestTheList:
    @pytest.fixture
    def two(self, project):
        project.add_case(0)
        project.add_case(1)
        return project

    def test_roles_are_changed_for_all_chosen_cases(self, two):
        two.ui.caseTable.selectAll()
        two.ui.roleSelector.setCurrentIndex(2)
        two.wait_until(lambda: all(case.role == "test" for case in two.panel.cases.cases))
        two.wait_for_task()
        assert [row[1] for row in two.rows(two.ui.caseTable)] == ["Test", "Test"]
        two.picture("train-cases")

    def test_a_case_is_edited_in_the_scene_and_saved(self, two, monkeypatch):
        import slicer
        from test_results import SegmentEditor

        slicer.modules.segmenteditor = editor = SegmentEditor()
        before = two.panel.cases.cases[0].volumes_ml["kidney tumor"]
        two.select_case(0)
        two.click(two.ui.editCaseButton)
        two.wait_for_task()
        segmentation, _volume = editor.chosen
        array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, "kidney_tumor")
        value = segmentation.GetSegmentation().GetSegment("kidney_tumor").GetLabelValue()
        inside = np.argwhere(array == value)
        array[tuple(inside[: len(inside) // 2].T)] = 0
        two.select_case(0)
        two.click(two.ui.updateCaseButton)
        two.wait_for_task()
        assert two.dialogs.shown == []
        assert two.panel.cases.cases[0].volumes_ml["kidney tumor"] < 0.7 * before
        assert two.ui.caseStage.text == "Saved: scan 0."

    def test_a_removed_case_is_kept_aside(self, two):
        import qt

        two.select_case(0)
        two.dialogs.answers = [qt.QMessageBox.Ok]
        two.click(two.ui.removeCaseButton)
        two.wait_until(lambda: len(two.panel.cases.cases) == 1)
        assert [row[0] for row in two.rows(two.ui.caseTable)] == ["scan 1"]
        assert list((two.folder / "removed").iterdir())


class TestImport:
    @pytest.fixture
    def data_set(self, tmp_path):
        """A CSV with one good case and one whose label map is missing."""
        from Testing.tiny_training import draw_case

        folder = tmp_path / "data set"
        folder.mkdir()
        volume, labels = draw_case(2)
        write_volume(volume, folder / "a.nii.gz")
        write_label_map(labels, folder / "a-label.nii.gz")
        write_volume(draw_case(3)[0], folder / "b.nii.gz")
        lines = ["id,image,label", "a,a.nii.gz,a-label.nii.gz", "b,b.nii.gz,b-label.nii.gz"]
        (folder / "cases.csv").write_text("\n".join(lines), encoding="utf-8")
        return folder / "cases.csv"

    def test_the_report_comes_first_and_good_cases_are_imported(self, project, data_set):
        ui = project.ui
        ui.importSection.collapsed = False
        ui.importPath.currentPath = str(data_set)
        assert not ui.importButton.enabled
        project.click(ui.checkButton)
        project.wait_for_task()
        assert ui.importLabel.text == "1 of 2 cases can be used."
        good, bad = ui.importReport.toPlainText().splitlines()
        assert good == "a: The slices are 6.0 mm apart; small lesions may be missed above 5 mm."
        assert bad.startswith("b: ")
        assert 'b-label.nii.gz" does not exist' in bad
        project.picture("train-import")
        project.click(ui.importButton)
        project.wait_for_task()
        assert [case.title for case in project.panel.cases.cases] == ["a"]
        assert ui.importLabel.text == "1 cases were added."
        assert project.dialogs.shown == []

    def test_a_folder_without_cases_is_said_in_words(self, project, tmp_path):
        project.ui.importPath.currentPath = str(tmp_path / "nowhere")
        project.click(project.ui.checkButton)
        project.wait_for_task()
        assert "nowhere" in project.dialogs.shown[-1]


def test_the_cts_of_a_folder_are_ordered_by_how_unsure_the_model_is(project, tmp_path):
    from Testing.tiny_training import draw_case

    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for number in range(2):
        write_volume(draw_case(number)[0], folder / f"ct{number}.nii.gz")
    project.ui.suggestSection.collapsed = False
    project.ui.suggestPath.currentPath = str(folder)
    project.click(project.ui.suggestButton)
    project.wait_for_task(120)
    assert project.dialogs.shown == []
    rows = project.rows(project.ui.suggestTable)
    assert len(rows) == 2
    unsure = [float(row[1]) for row in rows]
    assert unsure == sorted(unsure, reverse=True)
    project.ui.suggestTable.cellDoubleClicked.emit(0, 0)
    project.wait_until(lambda: not project.panel.loader.busy)
    assert project.ui.addVolume.currentNode().GetName() == rows[0][0]


def test_a_corrected_result_of_hlfd_segment_is_the_next_case(project):
    import slicer

    volume, segmentation = project.draw_case()
    segment = slicer.modules.hlfdsegment.widgetRepresentation().self()
    segment.enter()
    segment.ui.outputSelector.setCurrentNode(segmentation)
    project.click(segment.ui.trainingCaseButton)
    assert project.desktop.main_window.moduleSelector().selected[-1] == "HLFDTrain"
    assert project.ui.addVolume.currentNode() is volume
    assert project.ui.addSegmentation.currentNode() is segmentation
    project.click(project.ui.addButton)
    project.wait_for_task()
    assert len(project.panel.cases.cases) == 1
