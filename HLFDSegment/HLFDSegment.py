"""3D Slicer module: segment kidney, tumor and cyst in a CT, in the background, with measurements."""

from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *  # noqa: F403  the Extension Wizard looks for the bare class names


class HLFDSegment(ScriptedLoadableModule):  # noqa: F405
    """Metadata of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("HLFD Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy", "Tables"]
        self.parent.contributors = ["The HLFD developers"]
        self.parent.helpText = _(
            "Segments kidneys, kidney tumors and cysts in an abdominal CT and measures them. "
            "The bundled model is a demonstration and is not for clinical use."
        )
        self.parent.acknowledgementText = _("Uses OpenVINO and SimpleITK; see the model card for the training data.")


class HLFDSegmentWidget(ScriptedLoadableModuleWidget):  # noqa: F405
    """Shows the panel of HLFDSegmentUI."""

    def setup(self):
        """Build the panel; called by Slicer when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        from HLFDSegmentUI.segment_panel import SegmentPanel

        self.panel = SegmentPanel(self.layout, self.resourcePath)

    def cleanup(self):
        """Stop the work; called by Slicer on reload and exit."""
        if hasattr(self, "panel"):
            self.panel.close()


class HLFDSegmentTest(ScriptedLoadableModuleTest):  # noqa: F405
    """Self-test in Slicer: labels go into the scene and come back."""

    def runTest(self):  # noqa: N802  named by Slicer
        """Put a label map into an empty scene and read it back."""
        import numpy as np
        import slicer

        from hlfd.labels import KIDNEY_LABELS
        from hlfd.volume import LabelMap, Volume
        from HLFDSegmentLib.segmentations import label_map_from_segmentation, segmentation_from_label_map
        from HLFDSegmentLib.volumes import volume_to_node

        slicer.mrmlScene.Clear()
        labels = np.zeros((6, 8, 10), np.uint8)
        labels[1:4, 2:5, 3:7] = 1
        labels[2, 3, 4] = 2
        volume_node = volume_to_node(slicer.mrmlScene, Volume(labels.astype(np.int16), np.eye(4)))
        label_map = LabelMap(labels, np.eye(4), KIDNEY_LABELS)
        node = segmentation_from_label_map(slicer.mrmlScene, label_map, volume_node)
        back = label_map_from_segmentation(node, volume_node, KIDNEY_LABELS)
        self.assertEqual(back.array.tolist(), labels.tolist())  # noqa: PT009  Slicer runs unittest
