"""An own layout in the scene: its views by their tags, and the way back to the user's layout."""

from __future__ import annotations

import slicer


class Views:
    """The layout ``number`` described by ``xml``. Without a layout node (a program without window) the view nodes are
    made in the scene all the same."""

    def __init__(self, scene: slicer.vtkMRMLScene, number: int, xml: str) -> None:
        self._scene, self._number, self._xml = scene, number, xml
        self._before: int | None = None
        self.entered = False

    def enter(self) -> None:
        """Show the layout and remember the one before."""
        self.entered = True
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is None:
            return
        if layout.GetViewArrangement() != self._number:
            self._before = layout.GetViewArrangement()
        if layout.IsLayoutDescription(self._number):
            layout.SetLayoutDescription(self._number, self._xml)
        else:
            layout.AddLayoutDescription(self._number, self._xml)
        layout.SetViewArrangement(self._number)

    def leave(self) -> None:
        """Restore the layout before; nothing where another one was chosen meanwhile."""
        layout = self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        if layout is not None and self._before is not None and layout.GetViewArrangement() == self._number:
            layout.SetViewArrangement(self._before)
        self._before, self.entered = None, False

    def node(self, tag: str, kind: str) -> slicer.vtkMRMLNode:
        """Return the view node with this singleton tag."""
        node = self._scene.GetSingletonNode(tag, kind)
        if node is None:
            node = self._scene.CreateNodeByClass(kind)  # with the orientations of this scene
            node.UnRegister(None)
            node.SetName(tag)
            node.SetLayoutName(tag)
            node.SetSingletonTag(tag)
            node = self._scene.AddNode(node)
        return node

    def slice_node(self, tag: str) -> slicer.vtkMRMLSliceNode:
        """Return a slice view's node."""
        return self.node(tag, "vtkMRMLSliceNode")

    def composite(self, tag: str) -> slicer.vtkMRMLSliceCompositeNode:
        """Return the node that says which volumes a slice view shows."""
        self.slice_node(tag)
        for index in range(self._scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
            node = self._scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
            if node.GetLayoutName() == tag:
                return node
        return self.node(tag, "vtkMRMLSliceCompositeNode")

    def show_volume(self, tag: str, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Show one volume in a slice view, and nothing else; one that is new there is seen whole."""
        composite = self.composite(tag)
        if composite.GetBackgroundVolumeID() == volume.GetID():
            return
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        self.fit(tag, volume)

    def fit(self, tag: str, volume: slicer.vtkMRMLVolumeNode) -> None:
        """Centre a slice view on a volume and let it be seen whole."""
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        node = self.slice_node(tag)
        matrix = node.GetSliceToRAS()
        extent = [bounds[2 * axis + 1] - bounds[2 * axis] for axis in range(3)]
        sides = [sum(abs(matrix.GetElement(row, column)) * extent[row] for row in range(3)) for column in range(2)]
        width, height = (max(node.GetDimensions()[axis], 1) for axis in range(2))
        pixel = max(sides[0] / width, sides[1] / height)
        node.SetFieldOfView(pixel * width, pixel * height, node.GetFieldOfView()[2])
        node.SetXYZOrigin(0.0, 0.0, 0.0)
        node.UpdateMatrices()
        node.JumpSliceByCentering(*[(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])
