"""Self-tests of the module HLFD Segment in desktop Slicer, in a build (ctest) or an installed Slicer:

Slicer --no-splash --testing --no-main-window --additional-module-paths HLFDSegment --python-code
  "import slicer.testing; slicer.testing.runUnitTest(['Testing/Slicer'], 'test_hlfd_segment')"
"""

from __future__ import annotations

import sys
import time
import unittest
from pathlib import Path

import slicer

NETWORK_LIBRARIES = {"torch", "openvino", "monai"}
LOADED_BEFORE = NETWORK_LIBRARIES & set(sys.modules)  # another extension may have loaded them


class HLFDSegmentSelfTest(unittest.TestCase):
    """The panel as it is in Slicer: it loads, segments where OpenVINO is installed, and lets go of closed scenes."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.widget = slicer.modules.hlfdsegment.widgetRepresentation().self()
        self.widget.enter()

    def tearDown(self) -> None:
        slicer.mrmlScene.Clear()

    def test_no_network_library_is_loaded_into_slicer(self) -> None:
        assert NETWORK_LIBRARIES & set(sys.modules) == LOADED_BEFORE

    def test_the_button_follows_the_model(self) -> None:
        assert self.widget.ui.runButton.text == "Segment kidney tumor"
        assert "not for clinical use" in self.widget.ui.noticeLabel.text

    def test_settings_are_kept_in_the_scene(self) -> None:
        self.widget.ui.opacitySlider.value = 0.25
        node = slicer.mrmlScene.GetSingletonNode("HLFDSegment", "vtkMRMLScriptedModuleNode")
        assert abs(float(node.GetParameter("opacity")) - 0.25) < 1e-9

    def test_an_empty_scene_is_answered_without_a_crash(self) -> None:
        for _ in range(3):
            slicer.mrmlScene.Clear()
            slicer.app.processEvents()
        assert self.widget.ui.runButton.enabled

    def test_the_sample_is_segmented_cancelled_and_segmented_again(self) -> None:
        if self.widget.panel.setup.missing:
            self.skipTest("OpenVINO is not installed; use the button in the section Setup first")
        from hlfd.io import read_volume
        from HLFDSegmentLib.volumes import volume_to_node

        volume = volume_to_node(slicer.mrmlScene, read_volume(self._sample()))
        self.widget.ui.inputSelector.setCurrentNode(volume)
        self._segment()
        first = self.widget.ui.outputSelector.currentNode()
        assert first.GetSegmentation().GetSegment("kidney_tumor") is not None
        self.widget.ui.runButton.click()
        self.widget.ui.cancelButton.click()
        self._wait()
        self._segment()
        assert self.widget.ui.outputSelector.currentNode() is first
        assert self.widget.ui.lesionTable.rowCount > 0

    def _sample(self) -> Path:
        folder = Path(slicer.util.modulePath("HLFDSegment")).parent
        return folder / "Resources" / "HLFDSegment" / "Samples" / "sample_ct.nii.gz"

    def _segment(self) -> None:
        self.widget.ui.runButton.click()
        self._wait()

    def _wait(self, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not self.widget.ui.runButton.enabled:
            assert time.monotonic() < end, self.widget.ui.stageLabel.text
            slicer.app.processEvents()
            time.sleep(0.01)


if __name__ == "__main__":
    unittest.main(argv=["test_hlfd_segment"], exit=False)
