"""The qMRML widgets in use, on the real MRML scene."""

from __future__ import annotations

import weakref
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from standin.pythonqt import pythonqt


class _Widget(QtWidgets.QWidget):
    """Libs/MRML/Widgets/qMRMLWidget.h: a widget that knows the scene and tells the widgets in it."""

    mrmlSceneChanged = QtCore.Signal(object)  # noqa: N815
    _signatures = {"mrmlSceneChanged": "mrmlSceneChanged(vtkMRMLScene*)"}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:  # noqa: N802
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class _NodeComboBox(QtWidgets.QWidget):
    """Libs/MRML/Widgets/qMRMLNodeComboBox.h: lists the visible nodes of its types; "None" and "Create new" on request.

    Without "None" the first node is selected as soon as there is one, as the combo box of Qt does.
    """

    currentNodeChanged = QtCore.Signal(object)  # noqa: N815
    currentNodeIDChanged = QtCore.Signal(str)  # noqa: N815
    nodeAdded = QtCore.Signal(object)  # noqa: N815
    nodeAddedByUser = QtCore.Signal(object)  # noqa: N815
    _signatures = {  # noqa: RUF012
        "currentNodeChanged": "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeIDChanged": "currentNodeIDChanged(QString)",
        "nodeAddedByUser": "nodeAddedByUser(vtkMRMLNode*)",
    }

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._tags, self._nodes = None, [], []
        self._types: list[str] = []
        self._none, self._add, self._none_text, self._base_name = False, True, "None", ""
        self._other = {"removeEnabled": True, "editEnabled": False, "renameEnabled": False, "showHidden": False}
        self._updating, self._last = False, None
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._combo = QtWidgets.QComboBox(self)
        layout.addWidget(self._combo)
        self._combo.currentIndexChanged.connect(self._on_index)
        self._combo.activated.connect(self._on_activated)

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            me = weakref.ref(self)
            refresh = lambda *_: me() is not None and me()._refresh()  # noqa: E731
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent)
            self._tags = [scene.AddObserver(event, refresh) for event in events]
        self._refresh()

    def mrmlScene(self) -> Any:  # noqa: N802
        return self._scene

    def currentNode(self) -> Any:  # noqa: N802
        index = self._combo.currentIndex() - (1 if self._none else 0)
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node)
        self._refresh()
        if node in self._nodes:
            self._combo.setCurrentIndex(self._nodes.index(node) + (1 if self._none else 0))
        else:
            self._combo.setCurrentIndex(0 if self._none else -1)

    def setCurrentNodeID(self, node_id: str) -> None:  # noqa: N802
        self.setCurrentNode(node_id)

    def nodeCount(self) -> int:  # noqa: N802
        return len(self._nodes)

    def addNode(self, node_type: str = "") -> Any:  # noqa: N802
        node = self._scene.AddNewNodeByClass(node_type or self._types[0], self._base_name or "")
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _listed(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        visible = [node for node in nodes if self._other["showHidden"] or not node.GetHideFromEditors()]
        return [node for node in visible if any(node.IsA(kind) for kind in self._types)]

    def _refresh(self) -> None:
        if self._updating or (self._scene is not None and self._scene.IsBatchProcessing()):
            return
        before = self.currentNode()
        self._updating = True
        try:
            self._nodes = self._listed()
            self._combo.clear()
            if self._none:
                self._combo.addItem(self._none_text)
            for node in self._nodes:
                self._combo.addItem(node.GetName())
            if self._add and self._scene is not None:
                for kind in self._types:
                    self._combo.addItem(f"Create new {_label(kind)}")
            first = 0 if (self._none or self._nodes) else -1
            offset = 1 if self._none else 0
            self._combo.setCurrentIndex(self._nodes.index(before) + offset if before in self._nodes else first)
        finally:
            self._updating = False
        self._tell()

    def _on_index(self, index: int) -> None:
        if not self._updating:
            self._tell()

    def _on_activated(self, index: int) -> None:
        extra = index - len(self._nodes) - (1 if self._none else 0)
        if extra >= 0:
            self.addNode(self._types[extra])

    def _tell(self) -> None:
        node = self.currentNode()
        if node is not self._last:
            self._last = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def _set(self, name: str, value: Any) -> None:
        setattr(self, name, value)
        self._refresh()

    def _set_types(self, types: list[str]) -> None:
        self._set("_types", [types] if isinstance(types, str) else list(types))

    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, _set_types)  # noqa: N815
    noneEnabled = QtCore.Property(  # noqa: N815
        bool, lambda self: self._none, lambda self, v: self._set("_none", v)
    )
    addEnabled = QtCore.Property(bool, lambda self: self._add, lambda self, v: self._set("_add", v))  # noqa: N815
    noneDisplay = QtCore.Property(  # noqa: N815
        str, lambda self: self._none_text, lambda self, v: self._set("_none_text", v)
    )
    baseName = QtCore.Property(  # noqa: N815
        str, lambda self: self._base_name, lambda self, v: self._set("_base_name", v)
    )
    removeEnabled = QtCore.Property(  # noqa: N815
        bool, lambda self: self._other["removeEnabled"], lambda self, v: self._other.update(removeEnabled=v)
    )
    editEnabled = QtCore.Property(  # noqa: N815
        bool, lambda self: self._other["editEnabled"], lambda self, v: self._other.update(editEnabled=v)
    )
    renameEnabled = QtCore.Property(  # noqa: N815
        bool, lambda self: self._other["renameEnabled"], lambda self, v: self._other.update(renameEnabled=v)
    )


def _label(kind: str) -> str:
    node = getattr(slicer, kind)()
    return node.GetNodeTagName()


def make_widgets() -> dict[str, type]:
    """Return the classes by their Slicer names."""
    made = {}
    for cls in (_Widget, _NodeComboBox):
        wrapped = pythonqt(cls)
        wrapped.__name__ = f"qMRML{cls.__name__.lstrip('_')}"
        made[wrapped.__name__] = wrapped
    return made
