"""What the panel keeps in the scene; what belongs to the person and the machine is in Slicer's settings."""

from __future__ import annotations

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper


@parameterNodeWrapper
class TrainParameters:
    """The nodes from which the next case is made."""

    case_volume: vtkMRMLScalarVolumeNode
    case_segmentation: vtkMRMLSegmentationNode
