"""Real Slicer slice and 3-D views that draw into memory: the displayable managers of Slicer on a VTK window.

No display and no application is needed; see ``graphics.prepare_rendering`` for what the system must have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from hlfd.errors import OutputError

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


class _View:
    """A render window of ``size`` (width, height) pixels with a group of displayable managers.

    Layout names are singletons in a scene: only one view of a kind may be open at a time.
    """

    node: slicer.vtkMRMLAbstractViewNode
    logic: slicer.vtkMRMLAbstractLogic
    _logics: vtk.vtkCollection

    def __init__(self, size: tuple[int, int], samples: int) -> None:
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(samples)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()  # displayable managers ask for one
        self._interactor.SetRenderWindow(self.window)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()

    def _show(
        self, factory: slicer.vtkMRMLDisplayableManagerFactory, names: Sequence[str], node: slicer.vtkMRMLNode
    ) -> None:
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group.Initialize(factory, self.renderer)
        self._group.SetMRMLDisplayableNode(node)

    def image(self) -> NDArray[np.uint8]:
        """Draw and return the picture as (height, width, 3) RGB, first row on top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, 3)[::-1].copy()

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        """Return the nodes that the view put into the scene."""
        return [self.node]

    def close(self) -> None:
        """Free the view's graphics memory and take its nodes out of the scene."""
        self._group.SetMRMLDisplayableNode(None)
        self.window.Finalize()
        scene, nodes = self.node.GetScene(), self._nodes()
        self._logics.RemoveItem(self.logic)
        self.logic.SetMRMLScene(None)  # first: the logic would put nodes that it misses back
        for node in nodes:
            scene.RemoveNode(node)


class SliceView(_View):
    """A slice view of the scene through a volume, named orientation (Axial, Coronal, Sagittal)."""

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        application_logic: slicer.vtkMRMLApplicationLogic,
        orientation: str,
        size: tuple[int, int],
    ) -> None:
        super().__init__(size, samples=0)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.renderer.SetBackground(0.0, 0.0, 0.0)
        self._mapper = vtk.vtkImageMapper()  # the slice logic blends to 8-bit RGBA: shown as it is
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)  # before the managers' actors, which blend over it
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        self.logic.SetMRMLScene(scene)
        self._logics = application_logic.GetSliceLogics()
        self._logics.AddItem(self.logic)
        self.node = self.logic.AddSliceNode(f"HLFD{orientation}")
        self.node.SetOrientation(orientation)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        self._show(factory, SLICE_MANAGERS, self.node)

    def show(
        self,
        volume_node: slicer.vtkMRMLScalarVolumeNode,
        center_ras: Sequence[float] | NDArray,
        field_mm: tuple[float, float],
    ) -> None:
        """Show the volume through ``center_ras`` in mm, at least ``field_mm`` (width, height) wide."""
        width, height = self.window.GetSize()
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.ResizeSliceNode(width, height)
        pixel = max(field_mm[0] / width, field_mm[1] / height)
        depth = self.node.GetFieldOfView()[2]
        self.node.SetFieldOfView(pixel * width, pixel * height, depth)
        self.node.SetXYZOrigin(0.0, 0.0, 0.0)
        self.node.JumpSliceByCentering(*center_ras)
        self.node.UpdateMatrices()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())

    def show_in_3d(self, opacity: float) -> None:
        """Show the slice as a plane in 3-D views."""
        self.node.SetSliceVisible(True)
        self.logic.GetSliceModelDisplayNode().SetOpacity(opacity)

    def axes_ras(self) -> NDArray[np.float64]:
        """Return the unit vectors in RAS of the picture's right and up directions, as rows."""
        matrix = self.node.GetSliceToRAS()
        return np.array([[matrix.GetElement(row, column) for row in range(3)] for column in range(2)])

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        model = self.logic.GetSliceModelNode()
        parts = (model, model.GetDisplayNode(), self.logic.GetSliceModelTransformNode()) if model else ()
        return [node for node in (*parts, self.logic.GetSliceCompositeNode(), self.node) if node is not None]


class ThreeDView(_View):
    """A 3-D view of the scene."""

    def __init__(
        self, scene: slicer.vtkMRMLScene, application_logic: slicer.vtkMRMLApplicationLogic, size: tuple[int, int]
    ) -> None:
        super().__init__(size, samples=8)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        self.logic.SetMRMLScene(scene)
        self._logics = application_logic.GetViewLogics()
        self._logics.AddItem(self.logic)
        self.node = self.logic.AddViewNode("HLFD3D")
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        self._show(factory, THREED_MANAGERS, self.node)

    def look(
        self, center_ras: Sequence[float] | NDArray, half_height_mm: float, azimuth: float = 0.0, tilt: float = 0.0
    ) -> None:
        """Look from the front at ``center_ras``, feet down, turned by ``azimuth`` and raised by ``tilt`` degrees."""
        camera = self.renderer.GetActiveCamera()
        distance = half_height_mm / np.tan(np.radians(camera.GetViewAngle() / 2.0))
        x, y, z = center_ras
        camera.SetFocalPoint(x, y, z)
        camera.SetPosition(x, y + distance, z)
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.Azimuth(azimuth)
        camera.Elevation(tilt)
        camera.OrthogonalizeViewUp()
        self.renderer.ResetCameraClippingRange()

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        cameras = [
            camera
            for index in range(self.node.GetScene().GetNumberOfNodesByClass("vtkMRMLCameraNode"))
            if (camera := self.node.GetScene().GetNthNodeByClass(index, "vtkMRMLCameraNode")).GetLayoutName()
            == self.node.GetLayoutName()
        ]
        return [*cameras, self.node]


def write_png(image: NDArray[np.uint8], path: Path) -> None:
    """Write an (height, width, 3) RGB array, first row on top, as PNG; raise ``OutputError`` where it fails."""
    from vtk.util.numpy_support import numpy_to_vtk

    height, width, _ = image.shape
    data = vtk.vtkImageData()
    data.SetDimensions(width, height, 1)
    data.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(image[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(data)
    writer.WriteToMemoryOn()
    writer.Write()
    try:
        Path(path).write_bytes(bytes(vtk_to_numpy(writer.GetResult())))
    except OSError as error:
        raise OutputError(f'Cannot write the picture "{path}": {error.strerror}.', "Choose another folder.") from error
