"""Where each public name of the stand-in comes from: nothing is offered that Slicer lacks.

``QT`` names the file of Slicer in which its own Python code uses the class, so that PythonQt is known to wrap it.
``CTK``, ``SLICER`` and ``PYTHON`` name the source file a class or module is modelled on and the members it has here.
Paths are of Slicer (the same in 5.8.1 and 5.12.3), those of CTK begin with ``CTK:``.
"""

from __future__ import annotations

_PY = "Base/Python/slicer"
_DICOM = "Modules/Scripted/DICOMLib/DICOMBrowser.py"
_CONNECTORS = f"{_PY}/parameterNodeWrapper/guiConnectors.py"
_WEB = "Applications/SlicerApp/Testing/Python/WebEngine.py"
_MODULE = f"{_PY}/ScriptedLoadableModule.py"
_APP = "Base/QTCore/qSlicerCoreApplication.h"

QT = {
    "QWidget": _CONNECTORS,
    "QLabel": "Applications/SlicerApp/Testing/Python/UtilTest.py",
    "QPushButton": "Applications/SlicerApp/Testing/Python/AtlasTests.py",
    "QCheckBox": "Applications/SlicerApp/Testing/Python/RSNAQuantTutorial.py",
    "QComboBox": _CONNECTORS,
    "QProgressBar": "Modules/Scripted/DICOMLib/DICOMSendDialog.py",
    "QPlainTextEdit": "Modules/Scripted/DICOMPatcher/DICOMPatcher.py",
    "QTableWidget": _DICOM,
    "QSpinBox": _CONNECTORS,
    "QDoubleSpinBox": _CONNECTORS,
    "QLineEdit": _CONNECTORS,
    "QMessageBox": f"{_PY}/util.py",
    "QDialog": f"{_PY}/util.py",
    "QVBoxLayout": _MODULE,
    "QHBoxLayout": _MODULE,
    "QFormLayout": "Applications/SlicerApp/Testing/Python/AtlasTests.py",
    "QTableWidgetItem": _DICOM,
    "QHeaderView": _DICOM,
    "QApplication": f"{_PY}/util.py",
    "QTimer": _WEB,
    "Qt": _MODULE,
    "QFile": f"{_PY}/util.py",
    "QUrl": _WEB,
    "QSize": _WEB,
    "QSettings": "Applications/SlicerApp/Testing/Python/DICOMReaders.py",
    "QIcon": _MODULE,
    "QDesktopServices": _MODULE,
    "QFileDialog": "Applications/SlicerApp/Testing/Python/JRC2013Vis.py",
    "QUiLoader": f"{_PY}/util.py",
}
CTK = {
    "ctkCollapsibleButton": (
        "CTK:Libs/Widgets/ctkCollapsibleButton.h",
        ["text", "collapsed", "setCollapsed", "contentsCollapsed"],
    ),
    "ctkPathLineEdit": (
        "CTK:Libs/Widgets/ctkPathLineEdit.h",
        [
            *("Dirs", "Files", "currentPath", "setCurrentPath", "currentPathChanged"),
            *("filters", "setFilters", "label", "setLabel"),
        ],
    ),
    "ctkSliderWidget": (
        "CTK:Libs/Widgets/ctkSliderWidget.h",
        ["value", "setValue", "valueChanged", "minimum", "maximum", "singleStep", "decimals"],
    ),
    "ctkMessageBox": ("CTK:Libs/Widgets/ctkMessageBox.h", []),
}
SLICER = {
    "qMRMLWidget": ("Libs/MRML/Widgets/qMRMLWidget.h", ["mrmlScene", "setMRMLScene", "mrmlSceneChanged"]),
    "qMRMLNodeComboBox": (
        "Libs/MRML/Widgets/qMRMLNodeComboBox.h",
        [
            *("currentNode", "setCurrentNode", "setCurrentNodeID", "currentNodeChanged", "currentNodeIDChanged"),
            *("nodeTypes", "noneEnabled", "noneDisplay", "addEnabled", "removeEnabled", "editEnabled"),
            *("renameEnabled", "baseName", "nodeCount", "addNode", "nodeAdded", "nodeAddedByUser"),
            *("mrmlScene", "setMRMLScene"),
        ],
    ),
    "qSlicerScriptedLoadableModuleWidget": (
        "Base/QTGUI/qSlicerScriptedLoadableModuleWidget.h",
        ["self", "reload"],
    ),
}
APPLICATION = {
    _APP: ["applicationLogic", "moduleManager", "userSettings"],
    "Base/QTGUI/qSlicerApplication.h": ["layoutManager", "startupCompleted"],
    # of QCoreApplication and QApplication, as Slicer's own Python code calls them
    f"{_PY}/util.py": [
        *("applicationName", "processEvents", "setOverrideCursor", "restoreOverrideCursor", "topLevelWidgets"),
        "testingEnabled",
    ],
    _MODULE: ["clipboard"],
    f"{_PY}/i18n.py": ["translate"],
}
MODULE_MANAGER = ("Base/QTCore/qSlicerModuleManager.h", ["moduleAboutToBeUnloaded", "module"])
PYTHON = {
    "i18n": (f"{_PY}/i18n.py", ["tr", "translate"]),
    "parameterNodeWrapper": (
        f"{_PY}/parameterNodeWrapper/wrapper.py",
        [
            *("parameterNodeWrapper", "connectParametersToGui", "disconnectGui", "AddObserver", "RemoveObserver"),
            *("StartModify", "EndModify", "allParameters"),
        ],
    ),
    "validators": (f"{_PY}/parameterNodeWrapper/validators.py", ["WithinRange", "Choice"]),
    "ScriptedLoadableModule": (
        _MODULE,
        [
            *("ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest"),
            *("ScriptedLoadableModuleWidget",),
        ],
    ),
}
