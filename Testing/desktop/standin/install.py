"""Puts the stand-in in place of what slicer-core lacks, and takes it away again."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

SLICER_NAMES = (
    "app",
    "mrmlScene",
    "modules",
    "qMRMLWidget",
    "qMRMLNodeComboBox",
    "qSlicerScriptedLoadableModuleWidget",
)
_STALE = ("HLFDSegmentUI", "HLFDTrainUI", "slicer.p")
PYTHON_NAMES = ("i18n", "parameterNodeWrapper", "ScriptedLoadableModule")
OWN_FILES = {"i18n": "i18n", "parameterNodeWrapper": "parameter_node", "ScriptedLoadableModule": "scripted_module"}


class Desktop:
    """One start of Slicer: the scene, the application and its modules; ``close()`` ends it."""

    def __init__(self, main_window: bool = True, testing: bool = False) -> None:
        from HLFDSegmentLib.headless import HeadlessScene
        from standin.application import make_application, make_main_window

        self.headless = HeadlessScene()
        self.scene = self.headless.scene
        slicer.mrmlScene = self.scene
        self.slice_nodes = [self._add_slice_view(name) for name in ("Red", "Green", "Yellow")]
        slicer.modules = types.SimpleNamespace()
        slicer.app, self._manager = make_application(self.headless, testing)
        self.main_window = make_main_window() if main_window else None

    def _add_slice_view(self, name: str) -> Any:
        """Add a slice view to the scene as the conventional layout does."""
        node = self.scene.CreateNodeByClass("vtkMRMLSliceNode")  # with the orientations of this scene
        node.UnRegister(None)
        node.SetName(name)
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        self.scene.AddNode(node)
        node.SetOrientation({"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}[name])
        return node

    def load(self, name: str, folder: Path) -> Any:
        """Load a scripted module and return it."""
        from standin.application import load_module

        return load_module(name, folder, slicer.app, self._manager)

    def process_events(self) -> None:
        """Let Qt draw and deliver what waits."""
        for _ in range(3):
            QtWidgets.QApplication.processEvents()

    def close(self) -> None:
        """End the application: modules clean up, windows and scene go.

        Everything of Qt is deleted here, in the thread of Qt: left to Python's collector, which runs in whatever thread
        allocates next, it would be deleted in a thread of the worker's client, and hang or crash.
        """
        for name, module in self._manager._modules.items():
            self._manager.moduleAboutToBeUnloaded.emit(name)
            if module._widget is not None:
                for widget in module._widget.findChildren(QtWidgets.QWidget):
                    if hasattr(widget, "setMRMLScene"):
                        widget.setMRMLScene(None)
                module._widget.close()
                module._widget.deleteLater()
            vars(module).clear()
            sys.modules.pop(name, None)
        self.scene.Clear(1)
        if self.main_window is not None:
            self.main_window.setObjectName("closed")
            self.main_window.deleteLater()
        for name in SLICER_NAMES:
            if hasattr(slicer, name) and not name.startswith("q"):
                delattr(slicer, name)
        vars(self).clear()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        QtWidgets.QApplication.processEvents()
        gc.collect()


def install() -> None:
    """Provide ``qt``, ``ctk`` and the missing parts of ``slicer``; the application object of Qt is made here."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if QtWidgets.QApplication.instance() is None:
        application = QtWidgets.QApplication(["Slicer"])
        application.setOrganizationName("hlfd-tests")
        application.setApplicationName("Slicer")
        application.setStyle("Fusion")
    from standin.ctk_module import make_ctk
    from standin.qmrml import make_widgets
    from standin.qt_module import make_qt

    sys.modules["qt"] = make_qt()
    sys.modules["ctk"] = make_ctk()
    for name, cls in make_widgets().items():
        setattr(slicer, name, cls)
    if os.environ.get("HLFD_SLICER_PYTHON"):
        _name_other_widgets(Path(os.environ["HLFD_SLICER_PYTHON"]))
    for name in PYTHON_NAMES:
        _provide(name)
    from standin.application import make_module_widget

    slicer.qSlicerScriptedLoadableModuleWidget = make_module_widget()


def _name_other_widgets(folder: Path) -> None:
    """Give Slicer's own connectors the classes that they name and the panels do not use; none can be made."""
    text = (folder / "parameterNodeWrapper" / "guiConnectors.py").read_text(encoding="utf-8")
    text += (folder / "parameterNodeWrapper" / "guiCreation.py").read_text(encoding="utf-8")
    modules = {"qt": sys.modules["qt"], "ctk": sys.modules["ctk"], "slicer": slicer}
    for module, name in re.findall(r"\b(qt|ctk|slicer)\.(\w+)", text):
        if not hasattr(modules[module], name) and name not in PYTHON_NAMES:
            setattr(modules[module], name, type(name, (), {}))


def _provide(name: str) -> None:
    real = os.environ.get("HLFD_SLICER_PYTHON", "")
    if real:
        path = Path(real) / name
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    else:
        path = Path(__file__).with_name(f"{OWN_FILES[name]}.py")
    search = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(f"slicer.{name}", path, submodule_search_locations=search)
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"slicer.{name}"] = module
    spec.loader.exec_module(module)
    setattr(slicer, name, module)


def uninstall() -> None:
    """Take everything away again, so that other tests see slicer-core as it is."""
    for name in SLICER_NAMES:
        if hasattr(slicer, name):
            delattr(slicer, name)
    for name in PYTHON_NAMES:
        if hasattr(slicer, name):
            delattr(slicer, name)
    stale = [name for name in sys.modules if name in ("qt", "ctk") or name.startswith(_STALE)]
    for name in [*stale, *(f"slicer.{name}" for name in PYTHON_NAMES)]:
        sys.modules.pop(name, None)
