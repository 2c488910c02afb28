"""Adding nodes beside others and taking them away again, the same for every kind of node."""

from __future__ import annotations

import slicer


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
    """Remove nodes with their display nodes; those that are None or no longer in the scene are skipped."""
    for node in nodes:
        if node is None or node.GetScene() is not scene:
            continue
        if isinstance(node, slicer.vtkMRMLDisplayableNode):
            for display in [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]:
                if display is not None:
                    scene.RemoveNode(display)
        scene.RemoveNode(node)
