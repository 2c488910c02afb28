"""3D Slicer module: segment kidney, tumor and cyst in a CT, in the background, with measurements."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *  # noqa: F403  the Extension Wizard looks for the bare class names
from slicer.util import VTKObservationMixin

SAMPLE_CHECKSUM = "SHA256:92c55d913ff34215cb000f95eaf74e5572dc65b98e649e0415ccec6f0f35c223"


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
        slicer.app.connect("startupCompleted()", self._register_sample)

    def _register_sample(self):
        """Offer the simulated CT in the module Sample Data."""
        import SampleData

        folder = Path(self.resourcePath("HLFDSegment/Samples"))
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="HLFD",
            sampleName="HLFDKidneyTumor",
            uris=(folder / "sample_ct.nii.gz").as_uri(),
            fileNames="HLFDKidneyTumor.nii.gz",
            nodeNames="HLFDKidneyTumor",
            thumbnailFileName=str(folder / "HLFDKidneyTumor.png"),
            checksums=SAMPLE_CHECKSUM,
        )


class HLFDSegmentLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    """Keeps the parameter node; what the module does is in HLFDSegmentLib."""


class HLFDSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    """Ties the panel of HLFDSegmentUI to the life of the module and of the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.panel = None
        self._entered = False

    def setup(self):
        """Build the panel; called by Slicer when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        from HLFDSegmentUI.segment_panel import SegmentPanel

        widget = slicer.util.loadUI(self.resourcePath("UI/HLFDSegment.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = HLFDSegmentLogic()
        self.ui = slicer.util.childWidgetVariables(widget)
        self.panel = SegmentPanel(self.ui, Path(self.resourcePath("HLFDSegment/requirements.txt")))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_changed)
        self._connect_parameters()

    def enter(self):
        """Show the state of the scene; called by Slicer when the module is opened."""
        self._entered = True
        self._connect_parameters()
        self.panel.probe()

    def exit(self):
        """Note that the panel is hidden; called by Slicer when another module is opened. A run goes on."""
        self._entered = False

    def cleanup(self):
        """Stop the work; called by Slicer on reload and exit."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def _connect_parameters(self):
        self.panel.connect_parameters(self.logic.getParameterNode())

    def _on_scene_closing(self, caller, event):
        self.panel.disconnect_parameters()

    def _on_scene_changed(self, caller, event):
        if self._entered:
            self.panel.disconnect_parameters()  # the selectors could not follow while the scene was loading
            self._connect_parameters()


class HLFDSegmentTest(ScriptedLoadableModuleTest):  # noqa: F405
    """Self-test in Slicer: labels go into the scene and come back."""

    def runTest(self):  # noqa: N802  named by Slicer
        """Put a label map into an empty scene and read it back."""
        import numpy as np

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
