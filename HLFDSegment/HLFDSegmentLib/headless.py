"""A MRML scene with the logics that segmentations and views need, for scripts that run outside an application.

Desktop Slicer and the browser application bring their own scene and logics; nothing here is used there.
"""

from __future__ import annotations

import sys

import slicer
import vtk


class HeadlessScene:
    """Owns ``scene`` and ``application_logic`` with the colour, volume, segmentation and subject-hierarchy logics.

    Set up as qSlicerCoreApplication does: colours and slice orientation presets (patient right on the left of the
    screen) are in the scene, and segmentations can be converted to closed surfaces.
    """

    def __init__(self) -> None:
        _send_vtk_messages_to_stderr()
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        colors = self.application_logic.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.segmentations_logic = self._add("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic())
        self.volumes_logic = self._add("Volumes", slicer.vtkSlicerVolumesLogic())
        self.hierarchy_logic = self._add("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic())

    def _add(self, name: str, logic: slicer.vtkSlicerModuleLogic) -> slicer.vtkSlicerModuleLogic:
        logic.SetMRMLScene(self.scene)
        logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.SetModuleLogic(name, logic)
        return logic


def _send_vtk_messages_to_stderr() -> None:
    if sys.platform == "win32":
        return  # keeps VTK's own console there
    output = vtk.vtkOutputWindow()
    output.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(output)
