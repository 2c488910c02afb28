"""Smoothed closed surfaces of labels, as Slicer makes them, but where it keeps nobody waiting.

Slicer converts in the thread of the user interface, a second or more for a large CT. Here the same filters with the
same parameters (``vtkBinaryLabelmapToClosedSurfaceConversionRule``) run in the worker or in a thread, and only VTK is
imported, no ``slicer``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import MissingDependencyError
from hlfd.events import CancelToken
from hlfd.preprocess.components import index_box
from hlfd.preprocess.frame import box_slices

SMOOTHING = 0.5


@dataclass(frozen=True)
class Surface:
    """Points (n, 3) and normals (n, 3) float32 in mm, triangles (m, 3) as indices of points."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    triangles: NDArray[np.int64]

    def moved(self, matrix: NDArray[np.float64]) -> Surface:
        """Return the surface with a 4x4 matrix applied; itself where that changes nothing."""
        if np.allclose(matrix, np.eye(4), atol=1e-9):
            return self
        normals = self.normals @ np.linalg.inv(matrix[:3, :3])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        points = self.points @ matrix[:3, :3].T + matrix[:3, 3]
        return Surface(points.astype(np.float32), normals.astype(np.float32), self.triangles)


@dataclass(frozen=True)
class Surfaces:
    """The surfaces of labels by value, in the frame in which the label map's grid is ``affine`` (IJK->RAS)."""

    affine: NDArray[np.float64]
    by_value: Mapping[int, Surface]


def closed_surfaces(
    labels: NDArray[np.uint8],
    affine: NDArray[np.float64],
    values: Iterable[int],
    smoothing: float = SMOOTHING,
    cancel: CancelToken | None = None,
) -> dict[int, Surface]:
    """Return the surface of each of ``values`` in ``labels`` (k, j, i) on the grid of ``affine`` (4x4 IJK->RAS in mm).

    ``smoothing`` is 0 to 1. Raises ``MissingDependencyError`` without VTK and ``CancelledError``.
    """
    made = {}
    for value in values:
        if cancel is not None:
            cancel.check()
        low, high = index_box(labels == value)
        part = np.pad(labels[box_slices(low, high)], 1)
        shift = np.eye(4)
        shift[:3, 3] = np.array(low[::-1], float) - 1.0  # the padding
        made[value] = _surface(part, affine @ shift, value, smoothing)
    return made


def _surface(part: NDArray[np.uint8], affine: NDArray[np.float64], value: int, smoothing: float) -> Surface:
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
        from vtkmodules.vtkCommonDataModel import vtkImageData
        from vtkmodules.vtkCommonTransforms import vtkTransform
        from vtkmodules.vtkFiltersCore import vtkPolyDataNormals, vtkWindowedSincPolyDataFilter
        from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D, vtkTransformPolyDataFilter
    except ImportError as error:
        raise MissingDependencyError(f"Surfaces need VTK: {error}.", "The slice views show the result.") from error
    image = vtkImageData()
    image.SetDimensions(*part.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(part).ravel(), deep=False))
    edges = vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.SetValue(0, value)
    last: Any = edges
    if smoothing > 0:
        last = vtkWindowedSincPolyDataFilter()
        last.SetInputConnection(edges.GetOutputPort())
        last.SetNumberOfIterations(int(20 + 40 * smoothing))
        last.SetPassBand(10.0 ** (-4.0 * smoothing))
        last.BoundarySmoothingOff()
        last.FeatureEdgeSmoothingOff()
        last.NonManifoldSmoothingOn()
        last.NormalizeCoordinatesOn()
    transform = vtkTransform()
    transform.SetMatrix(affine.ravel().tolist())
    placed = vtkTransformPolyDataFilter()
    placed.SetInputConnection(last.GetOutputPort())
    placed.SetTransform(transform)
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(placed.GetOutputPort())
    normals.ConsistencyOn()
    normals.SplittingOff()
    normals.Update()
    output = normals.GetOutput()
    if not output.GetNumberOfPolys():
        nothing = np.zeros((0, 3), np.float32)
        return Surface(nothing, nothing, np.zeros((0, 3), np.int64))
    points = vtk_to_numpy(output.GetPoints().GetData()).astype(np.float32)
    directions = vtk_to_numpy(output.GetPointData().GetNormals()).astype(np.float32)
    triangles = vtk_to_numpy(output.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    return Surface(points, directions, triangles)
