"""Adding nodes beside others, filling tables, and taking nodes away again, the same for every display."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk


def place_beside(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode, other: slicer.vtkMRMLNode) -> None:
    """Put a node under the same parent of the subject hierarchy as ``other``; nothing where that has no item."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    invalid = hierarchy.GetInvalidItemID()
    other_item = hierarchy.GetItemByDataNode(other)
    if other_item == invalid:
        return
    parent, item = hierarchy.GetItemParent(other_item), hierarchy.GetItemByDataNode(node)
    if item == invalid:
        hierarchy.CreateItem(parent, node)
    else:
        hierarchy.SetItemParent(item, parent)


def remove_nodes(scene: slicer.vtkMRMLScene, *nodes: slicer.vtkMRMLNode | None) -> None:
    """Remove nodes with their display nodes, the last one first: a color legend needs the display that it explains.

    Those that are None or no longer in the scene are skipped.
    """
    for node in nodes:
        if node is None or node.GetScene() is not scene:
            continue
        if isinstance(node, slicer.vtkMRMLDisplayableNode):
            for display in [node.GetNthDisplayNode(n) for n in reversed(range(node.GetNumberOfDisplayNodes()))]:
                if display is not None:
                    scene.RemoveNode(display)
        scene.RemoveNode(node)


class UnsavedNodes:
    """The nodes that one display needs in ``scene``, made when first asked for; none is saved with the scene."""

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._nodes: dict[str, slicer.vtkMRMLNode] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def __getitem__(self, key: str) -> slicer.vtkMRMLNode:
        return self._nodes[key]

    def get(self, key: str, kind: str, name: str) -> slicer.vtkMRMLNode:
        """Return the node of ``key``; where there is none (any more), a new one of class ``kind`` with that name."""
        node = self._nodes.get(key)
        if node is None or node.GetScene() is not self._scene:
            node = self._scene.AddNewNodeByClass(kind, name)
            node.SetSaveWithScene(False)
            self._nodes[key] = node
        return node

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        remove_nodes(self._scene, *self._nodes.values())
        self._nodes.clear()


def text_column(title: str, texts: Sequence[str]) -> vtk.vtkAbstractArray:
    """Return a column of texts."""
    array = vtk.vtkStringArray()
    array.SetName(title)
    for text in texts:
        array.InsertNextValue(text)
    return array


def number_column(title: str, values: Sequence[float]) -> vtk.vtkAbstractArray:
    """Return a column of numbers."""
    array = vtk.vtkDoubleArray()
    array.SetName(title)
    for value in values:
        array.InsertNextValue(float(value))
    return array


def write_columns(table: slicer.vtkMRMLTableNode, columns: Sequence[vtk.vtkAbstractArray]) -> None:
    """Replace all columns of a table node, which users may read but not edit."""
    was_modifying = table.StartModify()
    try:
        table.RemoveAllColumns()
        for column in columns:
            table.AddColumn(column)
        table.SetLocked(True)
    finally:
        table.EndModify(was_modifying)
