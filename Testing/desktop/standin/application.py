"""slicer.app, slicer.modules and the widget that shows a scripted module, as far as the panels use them."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import qt
import slicer
from PySide6 import QtCore, QtWidgets

from HLFDSegmentLib.headless import HeadlessScene
from standin.pythonqt import pythonqt


class _ModuleManager(QtCore.QObject):
    """Base/QTCore/qSlicerModuleManager.h."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self._modules.get(name)


class _Application(QtCore.QObject):
    """Base/QTCore/qSlicerCoreApplication.h and Base/QTGUI/qSlicerApplication.h."""

    startupCompleted = QtCore.Signal()  # noqa: N815

    def __init__(self, headless: HeadlessScene, manager: Any, testing: bool) -> None:
        super().__init__()
        self._headless, self._manager, self._testing = headless, manager, testing
        self._settings: Any = QtCore.QSettings()

    applicationName = QtCore.Property(str, lambda self: "Slicer")  # noqa: N815

    def applicationLogic(self) -> Any:  # noqa: N802
        return self._headless.application_logic

    def layoutManager(self) -> Any:  # noqa: N802
        return None  # as without a main window; layouts are set through vtkMRMLLayoutNode

    def moduleManager(self) -> Any:  # noqa: N802
        return self._manager

    def testingEnabled(self) -> bool:  # noqa: N802
        return self._testing

    def processEvents(self) -> None:  # noqa: N802
        QtWidgets.QApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:  # noqa: N802
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:  # noqa: N802
        QtWidgets.QApplication.restoreOverrideCursor()

    def topLevelWidgets(self) -> list[Any]:  # noqa: N802
        return QtWidgets.QApplication.topLevelWidgets()

    def clipboard(self) -> Any:
        return QtWidgets.QApplication.clipboard()

    def userSettings(self) -> Any:  # noqa: N802
        return self._settings

    def translate(self, context: str, text: str) -> str:
        return text


class _MainWindow(QtWidgets.QWidget):
    """Base/QTApp/qSlicerMainWindow.h: present or not, with a module selector that notes what was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = types.SimpleNamespace(selected=[])
        self._selector.selectModule = self._selector.selected.append

    def moduleSelector(self) -> Any:  # noqa: N802
        return self._selector


class Module(types.SimpleNamespace):
    """A loaded module (Base/QTGUI/qSlicerScriptedLoadableModule.h): metadata, path and its one widget."""

    def widgetRepresentation(self) -> Any:  # noqa: N802
        if self._widget is None:
            self._widget = slicer.qSlicerScriptedLoadableModuleWidget()
            self._widget.setMRMLScene(slicer.mrmlScene)
            self._widget._load(self.name, Path(self.path))
            self._widget.self().setup()
        return self._widget


def load_module(name: str, folder: Path, app: Any, manager: Any) -> Module:
    """Load ``folder/name.py`` as Slicer does at its start."""
    path = folder / f"{name}.py"
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # Base/QTCore/qSlicerCorePythonManager.cxx, appendPythonPath
    source = _import(name, path)
    module = Module(name=name, path=str(path), _widget=None)
    module.logic = getattr(source, name)(module)
    manager._modules[name] = module
    setattr(slicer.modules, name.lower(), module)
    return module


def _import(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    return source


def make_module_widget() -> type:
    """Return qSlicerScriptedLoadableModuleWidget (Base/QTGUI), whose ``self()`` is the Python widget."""

    class qSlicerScriptedLoadableModuleWidget(slicer.qMRMLWidget):  # noqa: N801
        def __init__(self, parent: Any = None) -> None:
            super().__init__()
            self._python: Any = None
            self._source: tuple[str, Path] | None = None
            self.setLayout(qt.QVBoxLayout())

        def _load(self, name: str, path: Path) -> None:
            self._source = (name, path)
            source = sys.modules[name]
            self._python = getattr(source, f"{name}Widget")(self)
            setattr(slicer.modules, f"{name}Widget", self._python)

        def self(self) -> Any:
            return self._python

        def reload(self) -> None:
            self._load(*self._source)
            self._python.setup()

    return qSlicerScriptedLoadableModuleWidget


def make_application(headless: HeadlessScene, testing: bool) -> tuple[Any, Any]:
    """Return slicer.app and its module manager."""
    manager = pythonqt(_ModuleManager)()
    return pythonqt(_Application)(headless, manager, testing), manager


def make_main_window() -> Any:
    """Return a main window."""
    wrapped = pythonqt(_MainWindow)
    wrapped.__name__ = "qSlicerMainWindow"
    return wrapped()
