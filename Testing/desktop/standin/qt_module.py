"""The module ``qt``: only the classes that the panels use, each as PythonQt wraps it."""

from __future__ import annotations

import re
import types
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from standin.pythonqt import pythonqt

WIDGETS = (
    *("QWidget", "QLabel", "QPushButton", "QCheckBox", "QComboBox", "QProgressBar", "QPlainTextEdit", "QTableWidget"),
    *("QSpinBox", "QDoubleSpinBox", "QLineEdit", "QMessageBox", "QDialog"),
)
PLAIN = ("QVBoxLayout", "QHBoxLayout", "QFormLayout", "QTableWidgetItem", "QHeaderView", "QApplication")


def make_qt() -> types.ModuleType:
    """Return a new module ``qt``."""
    module = types.ModuleType("qt")
    for name in WIDGETS:
        setattr(module, name, pythonqt(getattr(QtWidgets, name)))
    for name in PLAIN:
        setattr(module, name, getattr(QtWidgets, name))
    module.QTimer = pythonqt(QtCore.QTimer)
    module.Qt = QtCore.Qt
    module.QFile = _file_class()
    module.QUrl = QtCore.QUrl
    module.QSize = QtCore.QSize
    module.QSettings = QtCore.QSettings
    module.QIcon = QtGui.QIcon
    module.QDesktopServices = QtGui.QDesktopServices
    module.QFileDialog = FileDialog
    module.QUiLoader = lambda: UiLoader(module)
    return module


def _file_class() -> type:
    class QFile(QtCore.QFile):
        ReadOnly = QtCore.QIODevice.OpenModeFlag.ReadOnly

    return QFile


class FileDialog:
    """Native file dialogs: ``answers`` holds what the person at the screen picks, in order ("" cancels).

    PythonQt returns the path alone where PySide6 returns the filter too.
    """

    answers: list[str] = []  # noqa: RUF012  shared on purpose: there is one screen

    @classmethod
    def _answer(cls) -> str:
        if not cls.answers:
            raise AssertionError("A file dialog was opened, and the test has no answer for it")
        return cls.answers.pop(0)

    @classmethod
    def getOpenFileName(cls, parent: Any, title: str, directory: str = "", filters: str = "") -> str:  # noqa: N802
        """Return the path of the file that the person picks."""
        return cls._answer()

    @classmethod
    def getSaveFileName(cls, parent: Any, title: str, directory: str = "", filters: str = "") -> str:  # noqa: N802
        """Return the path under which the person saves."""
        return cls._answer()

    @classmethod
    def getExistingDirectory(cls, parent: Any, title: str, directory: str = "") -> str:  # noqa: N802
        """Return the folder that the person picks."""
        return cls._answer()


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with the classes of this stand-in, and connects ``mrmlSceneChanged`` as the file says."""

    def __init__(self, qt_module: types.ModuleType) -> None:
        super().__init__()
        self._qt = qt_module

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:  # noqa: N802
        """Make a widget of the stand-in; a class that it lacks is an error."""
        import sys

        import slicer

        for module in (self._qt, sys.modules["ctk"], slicer):
            if class_name.startswith("Q") != (module is self._qt):
                continue
            if hasattr(module, class_name):
                widget = getattr(module, class_name)(parent) if parent is not None else getattr(module, class_name)()
                widget.setObjectName(name)
                return widget
        raise ValueError(f"The .ui file uses {class_name}, which the stand-in lacks")

    def load(self, file: QtCore.QFile, parent: Any = None) -> QtWidgets.QWidget:
        """Load the open file."""
        text = bytes(file.readAll().data()).decode("utf-8")
        buffer = QtCore.QBuffer()
        buffer.setData(re.sub(r"<connections>.*</connections>", "", text, flags=re.DOTALL).encode("utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if widget is None:
            raise RuntimeError(self.errorString())
        _connect_scene(widget, text)
        return widget


def _connect_scene(top: QtWidgets.QWidget, text: str) -> None:
    """Make the connections of the file whose C++ argument types PySide6 does not know."""
    for connection in ElementTree.fromstring(text).iter("connection"):
        values = {child.tag: child.text or "" for child in connection}
        if values["signal"] != "mrmlSceneChanged(vtkMRMLScene*)":
            continue
        receiver = top.findChild(QtWidgets.QWidget, values["receiver"])
        if receiver is None or values["slot"] != "setMRMLScene(vtkMRMLScene*)":
            raise ValueError(f"The .ui file connects to {values['receiver']}.{values['slot']}, which is not there")
        top.mrmlSceneChanged.connect(receiver.setMRMLScene)
