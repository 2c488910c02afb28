"""3D Slicer module: label a few cases, train the student on them, and see that it got better."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *  # noqa: F403  the Extension Wizard looks for the bare class names
from slicer.util import VTKObservationMixin


class HLFDTrain(ScriptedLoadableModule):  # noqa: F405
    """Metadata of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("HLFD Train")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["HLFDSegment"]
        self.parent.contributors = ["The HLFD developers"]
        self.parent.helpText = _(
            "Trains the student of a model on with a few own labelled CTs, guided by a teacher, and compares before "
            "and after on cases that it did not learn from. The training runs in a process of its own and goes on, "
            "or can be resumed, when Slicer is closed. Models are for research and are not for clinical use."
        )
        self.parent.acknowledgementText = _("Uses PyTorch and MONAI.")


class HLFDTrainLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    """Keeps the parameter node; what the module does is in HLFDTrainLib."""


class HLFDTrainWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    """Ties the panel of HLFDTrainUI to the life of the module and of the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.panel = None
        self._entered = False

    def setup(self):
        """Build the panel; called by Slicer when the module is opened first."""
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        from HLFDTrainUI.train_panel import TrainPanel

        widget = slicer.util.loadUI(self.resourcePath("UI/HLFDTrain.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = HLFDTrainLogic()
        self.ui = slicer.util.childWidgetVariables(widget)
        self.panel = TrainPanel(self.ui, Path(self.resourcePath("HLFDTrain/train-requirements.txt")))
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_changed)
        self._connect_parameters()

    def enter(self):
        """Show the state of project and scene; called by Slicer when the module is opened."""
        self._entered = True
        self._connect_parameters()
        self.panel.enter()

    def exit(self):
        """Note that the panel is hidden; called by Slicer when another module is opened. Work goes on."""
        self._entered = False

    def cleanup(self):
        """Let go of the work; called by Slicer on reload and exit. A training does what its settings say."""
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


class HLFDTrainTest(ScriptedLoadableModuleTest):  # noqa: F405
    """Self-test in Slicer: a project is made, and knows the labels of its model."""

    def runTest(self):  # noqa: N802  named by Slicer
        """Make a project in a temporary folder and open it again."""
        import tempfile

        from hlfd.models.registry import find
        from hlfd.project import Project

        with tempfile.TemporaryDirectory() as folder:
            made = Project.create(Path(folder) / "project", find("kidney", verify=False))
            self.assertEqual(made.cases, ())  # noqa: PT009  Slicer runs unittest
            self.assertTrue(Project.open(made.folder).labels)  # noqa: PT009
