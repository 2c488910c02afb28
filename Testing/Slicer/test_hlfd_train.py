"""Self-tests of the module HLFD Train in desktop Slicer, in a build (ctest) or an installed Slicer:

Slicer --no-splash --testing --no-main-window --additional-module-paths HLFDSegment HLFDTrain --python-code
  "import slicer.testing; slicer.testing.runUnitTest(['Testing/Slicer'], 'test_hlfd_train')"
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer

NETWORK_LIBRARIES = {"torch", "openvino", "monai"}
LOADED_BEFORE = NETWORK_LIBRARIES & set(sys.modules)  # another extension may have loaded them
SETTING = "HLFDTrain/Project"


class HLFDTrainSelfTest(unittest.TestCase):
    """The panel as it is in Slicer: it loads, makes a project, and takes a case of the scene into it."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.before = slicer.app.userSettings().value(SETTING) or ""
        slicer.app.userSettings().setValue(SETTING, "")
        self.widget = slicer.modules.hlfdtrain.widgetRepresentation().self()
        self.widget.enter()
        self.folder = tempfile.mkdtemp()

    def tearDown(self) -> None:
        slicer.mrmlScene.Clear()
        slicer.app.userSettings().setValue(SETTING, self.before)
        shutil.rmtree(self.folder, ignore_errors=True)

    def test_no_network_library_is_loaded_into_slicer(self) -> None:
        assert NETWORK_LIBRARIES & set(sys.modules) == LOADED_BEFORE

    def test_the_panel_says_what_to_do_first(self) -> None:
        assert self.widget.ui.trainButton.text == "Start training"
        assert self.widget.ui.durationSelector.currentText == "About 10 minutes"

    def test_a_case_of_the_scene_goes_into_a_project(self) -> None:
        ui = self.widget.ui
        ui.projectPath.currentPath = str(Path(self.folder) / "project")
        ui.projectButton.click()
        self._wait(self._is_idle)
        assert self.widget.panel.cases.project is not None, ui.projectLabel.text
        volume, segmentation = self._draw()
        ui.addVolume.setCurrentNode(volume)
        ui.addSegmentation.setCurrentNode(segmentation)
        self._wait(lambda: ui.addButton.enabled)
        ui.addButton.click()
        self._wait(self._is_idle)
        assert ui.caseTable.rowCount == 1, ui.caseStage.text

    def _wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.widget.ui.caseStage.text
            slicer.app.processEvents()
            time.sleep(0.01)

    def _is_idle(self) -> bool:
        return not self.widget.panel.cases.task

    def _draw(self) -> tuple:
        """Put a block of tissue with a left kidney and a tumor into the scene."""
        from hlfd.labels import KIDNEY_LABELS
        from hlfd.volume import LabelMap, Volume
        from HLFDSegmentLib.segmentations import segmentation_from_label_map
        from HLFDSegmentLib.volumes import volume_to_node

        values = np.full((20, 30, 40), -1000, np.int16)
        values[2:18, 4:26, 4:36] = np.random.default_rng(1).normal(40, 10, (16, 22, 32))
        labels = np.zeros(values.shape, np.uint8)
        labels[5:12, 8:18, 8:18] = 1
        labels[7:10, 10:14, 10:14] = 2
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        node = volume_to_node(slicer.mrmlScene, Volume(values, affine), "block")
        return node, segmentation_from_label_map(slicer.mrmlScene, LabelMap(labels, affine, KIDNEY_LABELS), node)


if __name__ == "__main__":
    unittest.main(argv=["test_hlfd_train"], exit=False)
