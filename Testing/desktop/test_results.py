"""What a person does with a result: look at lesions, change the views, correct, export, save and load the scene."""

from __future__ import annotations

import csv

import numpy as np
import pytest


@pytest.fixture
def result(person):
    """The segmentation of the sample CT."""
    person.load_ct()
    person.segment()
    return person.ui.outputSelector.currentNode()


def centres(desktop) -> list[np.ndarray]:
    """Where the slice views look, in RAS mm."""
    matrices = [node.GetSliceToRAS() for node in desktop.slice_nodes]
    return [np.array([matrix.GetElement(row, 3) for row in range(3)]) for matrix in matrices]


def test_a_result_is_looked_at_corrected_and_exported(person, result, tmp_path):
    import slicer

    from HLFDSegmentLib.lesion_rows import lesion_rows

    position = lesion_rows(person.desktop.scene, result)[0].position
    person.ui.lesionTable.cellClicked.emit(0, 0)
    for centre in centres(person.desktop):
        assert np.allclose(centre, position, atol=1e-3)

    display = result.GetDisplayNode()
    assert display.GetVisibility3D()
    person.ui.surfacesBox.checked = False
    person.ui.opacitySlider.value = 0.4
    assert not display.GetVisibility3D()
    assert display.GetOpacity() == pytest.approx(0.4)

    person.files.answers = [str(tmp_path / "numbers.csv")]
    person.click(person.ui.csvButton)
    rows = list(csv.DictReader((tmp_path / "numbers.csv").open(encoding="utf-8")))
    assert sum(row["kind"] == "lesion" for row in rows) == len(person.lesions())

    person.files.answers = [str(tmp_path / "report")]
    person.click(person.ui.reportButton)
    person.wait_until(lambda: person.ui.reportButton.enabled)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "not for clinical use" in page
    assert person.dialogs.shown == []

    slicer.modules.segmenteditor = segment_editor = SegmentEditor()
    person.click(person.ui.editorButton)
    assert person.desktop.main_window.moduleSelector().selected == ["SegmentEditor"]
    assert segment_editor.chosen == [result, person.ui.inputSelector.currentNode()]


class SegmentEditor:
    """The two calls of qMRMLSegmentEditorWidget.h that the panel makes, behind the module's widget."""

    def __init__(self):
        self.chosen = []
        self.editor = self
        self.setSegmentationNode = self.setSourceVolumeNode = self.chosen.append

    def widgetRepresentation(self):  # noqa: N802
        return self

    def self(self):
        return self


def test_a_saved_scene_brings_everything_back(person, result, tmp_path):
    scene, ui = person.desktop.scene, person.ui
    ui.deviceSelector.setCurrentIndex(1)
    ui.opacitySlider.value = 0.3
    rows, device = person.lesions(), person.panel.device.device
    save(scene, tmp_path)
    scene.Clear(0)
    assert person.lesions() == []
    assert ui.summaryLabel.text == "Nothing segmented yet."

    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Import()
    assert ui.inputSelector.currentNode().GetName() == "CT"
    assert ui.outputSelector.currentNode().GetName() == "CT segmentation"
    assert person.lesions() == rows
    assert person.panel.device.device == device
    assert ui.opacitySlider.value == pytest.approx(0.3)
    assert ui.reportButton.enabled
    from HLFDSegmentLib.edits import edited_segments

    assert edited_segments(ui.outputSelector.currentNode()) == []


def save(scene, folder) -> None:
    """Save the scene with its data, as File / Save does."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        if not node.GetSaveWithScene() or node.IsA("vtkMRMLColorNode"):
            continue
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is not None:
            suffix = storage.GetDefaultWriteFileExtension()
            storage.SetFileName(str(folder / f"{node.GetID()}.{suffix}"))
            assert storage.WriteData(node), node.GetName()
    scene.SetRootDirectory(str(folder))
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
