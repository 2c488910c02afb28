"""Label maps of the engine <-> segmentation nodes of a MRML scene.

A segmentation lies in the frame of its volume: same parent transform, same place in the subject hierarchy, the
volume as reference geometry. Segments made here carry a tag by which a later run finds and replaces them; every
other segment of the node stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from hlfd.errors import GeometryError, InputError, OutputError
from hlfd.labels import KIDNEY_LEFT, KIDNEY_RIGHT, Label
from hlfd.volume import LabelMap
from HLFDSegmentLib.label_arrays import Part, labelled_part
from HLFDSegmentLib.nodes import place_beside, remove_nodes
from HLFDSegmentLib.surfaces import SMOOTHING, Surface, Surfaces
from HLFDSegmentLib.terminology import LABEL_TAG, describe_segment, label_of_segment, segment_tag
from HLFDSegmentLib.volumes import array_to_matrix, matrix_to_array, node_affine

ALWAYS_SHOWN = (KIDNEY_LEFT.name, KIDNEY_RIGHT.name)
_GRID_TOLERANCE_MM = 1e-2
_MAX_LABELS = 255


def segmentation_from_label_map(
    scene: slicer.vtkMRMLScene,
    label_map: LabelMap,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
    name: str = "",
    always: Iterable[str] = ALWAYS_SHOWN,
    part: Part | None = None,
    surfaces: Surfaces | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Put the label map (k, j, i) into a segmentation node, one segment per label that is present, and return it.

    ``label_map`` lies on the grid of ``volume_node``, in the node's own frame or with its parent transform applied.
    Without ``segmentation_node`` a new one is added. In a given node the segments of an earlier run are replaced,
    keeping the name, colour and visibility that the user gave them, and all other segments stay untouched.
    Labels named in ``always`` get an empty segment when they are absent, so that a missing kidney is seen as
    missing; other absent labels get none.
    ``part`` is what ``labelled_part`` finds in the label map, and ``surfaces`` are its closed surfaces, where they were
    made in another thread before.
    Raises ``GeometryError`` when the grids differ and ``InputError`` for a node that does not hold label maps.
    """
    _check_grid(label_map, volume_node)
    filling = _Filling(label_map, part or labelled_part(label_map), volume_node, tuple(always), surfaces)
    if segmentation_node is not None:
        _check_holds_label_maps(segmentation_node)
        _fill(segmentation_node, filling)
        return segmentation_node
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name or f"{volume_node.GetName()} segmentation")
    try:
        node.CreateDefaultDisplayNodes()
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        place_beside(scene, node, volume_node)
        _fill(node, filling)
    except Exception:  # of the engine, of VTK or of numpy: no node stays half filled in the scene
        remove_nodes(scene, node)
        raise
    return node


def add_closed_surfaces(segmentation_node: slicer.vtkMRMLSegmentationNode, smoothing: float = SMOOTHING) -> None:
    """Make the smoothed closed surfaces of all segments and show them in 3-D views; ``smoothing`` is 0 to 1.

    Raises ``OutputError``, also where no segmentation logic registered the conversion (``HeadlessScene`` does).
    """
    segmentation = segmentation_node.GetSegmentation()
    _note_surfaces(segmentation_node, smoothing)
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segmentation.RemoveRepresentation(surface)
    if not segmentation_node.CreateClosedSurfaceRepresentation():
        raise OutputError(
            f'Slicer could not make the surfaces of "{segmentation_node.GetName()}".',
            "The slice views still show the segmentation; see the log for the reason.",
        )


def _note_surfaces(segmentation_node: slicer.vtkMRMLSegmentationNode, smoothing: float = SMOOTHING) -> None:
    """Show surfaces in 3-D views, and let Slicer make those of later edits alike."""
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule
    segmentation = segmentation_node.GetSegmentation()
    segmentation.SetConversionParameter(rule.GetSmoothingFactorParameterName(), f"{smoothing:g}")
    if segmentation_node.GetDisplayNode():
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        segmentation_node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(surface)


def label_map_from_segmentation(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLScalarVolumeNode,
    labels: Sequence[Label] = (),
) -> LabelMap:
    """Return the segments as one label map (k, j, i) uint8 on the grid of ``volume_node``, in its own frame.

    A segment takes the value of the label in ``labels`` that it was made from or is named like; all others get the
    lowest free values. Where segments overlap the later one counts. Segments on another grid are resampled to the
    nearest voxel. Raises ``InputError`` for more than 255 segments or segments that cannot become label maps.
    """
    segmentation = segmentation_node.GetSegmentation()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segmentation.GetNumberOfSegments() and not segmentation.CreateRepresentation(binary):
        raise InputError(f'"{segmentation_node.GetName()}" cannot be turned into label maps.', "See the log.")
    table = _label_table(segmentation, labels)
    ids, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for segment_id, label in table.items():
        ids.InsertNextValue(segment_id)
        values.InsertNextValue(label.value)
    k, j, i = slicer.util.arrayFromVolume(volume_node).shape
    grid = _oriented_image(np.zeros((k, j, i), dtype=np.uint8), _affine_in(segmentation_node, volume_node))
    array = np.zeros((k, j, i), dtype=np.uint8)
    if table:
        merged = slicer.vtkOrientedImageData()
        mode = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
        if not segmentation_node.GenerateMergedLabelmapForAllSegments(merged, mode, grid, ids, values):
            raise InputError(f'The segments of "{segmentation_node.GetName()}" could not be merged.', "See the log.")
        array = vtk_to_numpy(merged.GetPointData().GetScalars()).reshape(k, j, i).astype(np.uint8)
    return LabelMap(array, node_affine(volume_node), tuple(table.values()))


def _check_grid(label_map: LabelMap, volume_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    shape = slicer.util.arrayFromVolume(volume_node).shape
    for world in (False, True):
        grid = LabelMap(np.broadcast_to(np.uint8(0), shape), node_affine(volume_node, world))
        if label_map.same_grid(grid, _GRID_TOLERANCE_MM):
            return
    raise GeometryError(
        f'The label map {label_map.shape} does not lie on the grid of the volume "{volume_node.GetName()}" {shape}.',
        "Segment the volume again: it was changed or exchanged since.",
    )


def _check_holds_label_maps(node: slicer.vtkMRMLSegmentationNode) -> None:
    if not node.GetSegmentation().IsSourceRepresentationImageData():
        raise InputError(
            f'The segmentation "{node.GetName()}" is made of surfaces, not of label maps.',
            "Choose another output segmentation, or convert it in the Segmentations module.",
        )


@dataclass(frozen=True)
class _Filling:
    """What goes into a segmentation node."""

    label_map: LabelMap
    part: Part
    volume_node: slicer.vtkMRMLScalarVolumeNode
    always: tuple[str, ...]
    surfaces: Surfaces | None

    def surface(self, value: int, affine: NDArray[np.float64]) -> vtk.vtkPolyData | None:
        """Return the surface of a label in the frame in which the volume's grid is ``affine``."""
        if self.surfaces is None:
            return None
        surface = self.surfaces.by_value.get(value)
        if surface is None:
            return vtk.vtkPolyData()
        return surface_to_polydata(surface.moved(affine @ np.linalg.inv(self.surfaces.affine)))


def _fill(node: slicer.vtkMRMLSegmentationNode, filling: _Filling) -> None:
    segmentation, volume_node, always = node.GetSegmentation(), filling.volume_node, filling.always
    affine, present = _affine_in(node, volume_node), filling.part.values
    image = _oriented_image(filling.part.array, affine, filling.part.start)
    if not node.GetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole()):
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    earlier = _earlier_segments(segmentation)
    display = node.GetDisplayNode()
    forgets = display.GetRemoveUnusedDisplayProperties() if display else False
    if display:
        display.SetRemoveUnusedDisplayProperties(False)  # a replaced segment keeps the user's visibility and opacity
    try:
        for label in filling.label_map.labels:
            old_id = earlier.get(label.name, "")
            if label.value in present or label.name in always:
                labels = image if label.value in present else None
                _put_segment(segmentation, label, labels, filling.surface(label.value, affine), old_id)
            elif old_id:
                segmentation.RemoveSegment(old_id)
        if filling.surfaces is not None:
            _note_surfaces(node)
    finally:
        if display:
            display.SetRemoveUnusedDisplayProperties(forgets)


def _earlier_segments(segmentation: slicer.vtkSegmentation) -> dict[str, str]:
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    tags = {segment_id: segment_tag(segmentation.GetSegment(segment_id), LABEL_TAG) for segment_id in ids}
    return {name: segment_id for segment_id, name in tags.items() if name}


def _put_segment(
    segmentation: slicer.vtkSegmentation,
    label: Label,
    image: slicer.vtkOrientedImageData | None,
    surface: vtk.vtkPolyData | None,
    old_id: str,
) -> None:
    segment, before, segment_id = slicer.vtkSegment(), "", old_id
    describe_segment(segment, label)
    if old_id:
        segment.DeepCopyMetadata(segmentation.GetSegment(old_id))
        index = segmentation.GetSegmentIndex(old_id)
        segmentation.RemoveSegment(old_id)
        before = segmentation.GetNthSegmentID(index) if index < segmentation.GetNumberOfSegments() else ""
    else:
        segment_id = segmentation.GenerateUniqueSegmentID(label.name.replace(" ", "_"))
    if image is not None:
        binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        segment.AddRepresentation(binary, image)  # one image for all labels: segments share it by their label value
        segment.SetLabelValue(label.value)
        if surface is not None:
            name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
            segment.AddRepresentation(name, surface)
    if not segmentation.AddSegment(segment, segment_id, before):
        raise OutputError(f'Slicer refused the segment "{label.name}".', "See the log for the reason.")


def _label_table(segmentation: slicer.vtkSegmentation, labels: Sequence[Label]) -> dict[str, Label]:
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    if len(ids) > _MAX_LABELS:
        raise InputError(f"The segmentation has {len(ids)} segments; at most {_MAX_LABELS} fit in one label map.")
    known = {label.name: label.value for label in labels}
    wanted = {}
    for segment_id in ids:
        segment = segmentation.GetSegment(segment_id)
        name = next((n for n in (segment_tag(segment, LABEL_TAG), segment.GetName()) if n in known), None)
        wanted[segment_id] = known.pop(name) if name else None
    taken = {label.value for label in labels}
    free = (value for value in range(1, _MAX_LABELS + 1) if value not in taken)
    values = {key: next(free, 0) if value is None else value for key, value in wanted.items()}
    if 0 in values.values():
        raise InputError(
            f"{len(ids)} segments and {len(labels)} known labels do not fit in one label map of 255 values."
        )
    return {key: label_of_segment(segmentation.GetSegment(key), value) for key, value in values.items()}


def _affine_in(
    segmentation_node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLScalarVolumeNode
) -> NDArray[np.float64]:
    """Return the volume's IJK->RAS matrix in the frame of the segmentation node."""
    own = node_affine(volume_node)
    source, target = volume_node.GetParentTransformNode(), segmentation_node.GetParentTransformNode()
    if source is target:
        return own
    between = vtk.vtkMatrix4x4()
    if not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, between):
        raise GeometryError(
            f'"{segmentation_node.GetName()}" is under a non-linear transform.', "Harden or remove the transform."
        )
    return matrix_to_array(between) @ own


def _oriented_image(
    array: NDArray[np.uint8], affine: NDArray, start: tuple[int, int, int] = (0, 0, 0)
) -> slicer.vtkOrientedImageData:
    """Return the array (k, j, i) as an image with extent from ``start`` in the grid that ``affine`` describes."""
    image = slicer.vtkOrientedImageData()
    extent = [bound for s, n in zip(start[::-1], array.shape[::-1]) for bound in (s, s + n - 1)]
    image.SetExtent(extent)
    scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True, array_type=get_vtk_array_type(array.dtype))
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetGeometryFromImageToWorldMatrix(array_to_matrix(affine))
    return image


def surface_to_polydata(surface: Surface) -> vtk.vtkPolyData:
    """Return a surface as VTK holds it."""
    polydata, points, cells = vtk.vtkPolyData(), vtk.vtkPoints(), vtk.vtkCellArray()
    points.SetData(numpy_to_vtk(surface.points, deep=True))
    count = len(surface.triangles)
    offsets = numpy_to_vtk(np.arange(0, 3 * count + 1, 3, dtype=np.int64), deep=True, array_type=vtk.VTK_ID_TYPE)
    connectivity = numpy_to_vtk(surface.triangles.ravel(), deep=True, array_type=vtk.VTK_ID_TYPE)
    cells.SetData(offsets, connectivity)
    normals = numpy_to_vtk(surface.normals, deep=True)
    normals.SetName("Normals")
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    polydata.GetPointData().SetNormals(normals)
    return polydata
