"""The nodes that show feature maps: per network one scalar and one colour volume, whose arrays are exchanged."""

from __future__ import annotations

import numpy as np
import slicer

from HLFDSegmentLib.feature_colors import TABLE_OF, color_node
from HLFDSegmentLib.feature_maps import SCALES, TITLES, Map
from HLFDSegmentLib.nodes import remove_nodes
from HLFDSegmentLib.volumes import array_to_matrix

FOLDER = "Feature maps"
_KIND = "HLFD.FeatureMap"


class FeatureNodes:
    """Makes the nodes in ``scene`` when they are first needed; none is saved with the scene.

    ``folder`` in the subject hierarchy holds them.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._nodes: dict[tuple[str, bool], slicer.vtkMRMLVolumeNode] = {}
        self._folder = 0
        scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # for programs without the module Colors

    def show(self, role: str, shown: Map, table: str = "") -> slicer.vtkMRMLVolumeNode:
        """Put a map into the network's node and return the node; ``table`` names another colour table."""
        node = self._node(role, shown.kind == "pca")
        was_modifying = node.StartModify()
        try:
            node.SetIJKToRASMatrix(array_to_matrix(shown.affine))
            slicer.util.updateVolumeFromArray(node, shown.array)
            node.SetName(f"{TITLES[role]}: {shown.kind}")
        finally:
            node.EndModify(was_modifying)
        if shown.kind != "pca":
            self._colour(node, shown, table)
        return node

    def _colour(self, node: slicer.vtkMRMLScalarVolumeNode, shown: Map, table: str) -> None:
        display = node.GetDisplayNode()
        chosen = table if table and shown.kind != "difference" else TABLE_OF[shown.kind]
        was_modifying = display.StartModify()
        try:
            display.SetAndObserveColorNodeID(color_node(self._scene, chosen).GetID())
            display.SetAutoWindowLevel(False)
            low, high = shown.window
            display.SetWindowLevelMinMax(low, high if high > low else low + 1.0)
        finally:
            display.EndModify(was_modifying)
        self._legend(node, shown)

    def _legend(self, node: slicer.vtkMRMLScalarVolumeNode, shown: Map) -> None:
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
        if legend is not None:
            legend.SetTitleText(SCALES[shown.kind])

    def add_legend(self, role: str, view_id: str, views: int = 1) -> None:
        """Show the colours of the network's scalar map beside its own view, one of ``views`` in a row."""
        node = self._node(role, False)
        legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
        if legend is None:
            return
        legend.SetSaveWithScene(False)
        legend.SetViewNodeIDs([view_id])
        legend.SetSize(0.09 if views > 1 else 0.04, 0.5)  # of the view; the text grows with it
        legend.SetPosition(0.98, 0.5)
        legend.SetLabelFormat("%.1f")
        legend.SetNumberOfLabels(5)
        legend.SetVisibility(True)

    def _node(self, role: str, colour: bool) -> slicer.vtkMRMLVolumeNode:
        node = self._nodes.get((role, colour))
        if node is None or node.GetScene() is not self._scene:
            node = self._make(role, colour)
            self._nodes[role, colour] = node
        return node

    def _make(self, role: str, colour: bool) -> slicer.vtkMRMLVolumeNode:
        kind = "vtkMRMLVectorVolumeNode" if colour else "vtkMRMLScalarVolumeNode"
        node = self._scene.AddNewNodeByClass(kind, f"{TITLES[role]} {'colours' if colour else 'map'}")
        node.SetAttribute(_KIND, role)
        shape = (1, 1, 1, 3) if colour else (1, 1, 1)
        slicer.util.updateVolumeFromArray(node, np.zeros(shape, np.uint8 if colour else np.float32))
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        if colour:
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(0, 255)
        node.SetSaveWithScene(False)
        self.keep_together(node)
        return node

    def keep_together(self, node: slicer.vtkMRMLNode) -> None:
        """Put a node into the folder of the viewer."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        if hierarchy is None:
            return
        if not self._folder or hierarchy.GetItemName(self._folder) != FOLDER:
            self._folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), FOLDER)
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(self._folder, node)
        hierarchy.SetItemParent(item, self._folder)

    def remove(self) -> None:
        """Take the nodes and their folder out of the scene."""
        remove_nodes(self._scene, *self._nodes.values())
        self._nodes.clear()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        if hierarchy is not None and self._folder and hierarchy.GetItemName(self._folder) == FOLDER:
            hierarchy.RemoveItem(self._folder)
        self._folder = 0
