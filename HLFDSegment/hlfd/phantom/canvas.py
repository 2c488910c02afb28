"""A voxel grid that smooth implicit shapes are painted on.

Shapes are fields in mm, negative inside, evaluated on a coarse grid of nodes and interpolated linearly to the
voxels: boundaries stay sharp at any output spacing while most of the arithmetic happens on few nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hlfd.phantom.tissues import Tissue

Box = tuple[slice, slice, slice]
NODE_MM = 3.0
FAR = 1e3


@dataclass(frozen=True)
class Grid:
    """An axis-aligned RAS grid: ``origin`` and ``spacing`` in mm along (x, y, z), ``shape`` along (k, j, i)."""

    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]

    @property
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 IJK->RAS matrix."""
        matrix = np.diag([*self.spacing, 1.0])
        matrix[:3, 3] = self.origin
        return matrix

    def axis(self, index: int) -> NDArray[np.float64]:
        """Positions in mm along x (0), y (1) or z (2)."""
        return self.origin[index] + self.spacing[index] * np.arange(self.shape[2 - index], dtype=np.float64)

    def coarse(self, node_mm: float) -> Grid:
        """Return the grid of nodes that covers this grid with a margin of one node."""
        size = [self.spacing[a] * (self.shape[2 - a] - 1) for a in range(3)]
        x, y, z = (int(np.ceil(s / node_mm)) + 3 for s in size)
        ox, oy, oz = (o - node_mm for o in self.origin)
        return Grid((ox, oy, oz), (node_mm,) * 3, (z, y, x))


def smooth_noise(
    shape: Sequence[int], step: float, wavelength: float, rng: np.random.Generator, device: str = "cpu"
) -> torch.Tensor:
    """Return a random field (k, j, i) of about unit variance, smooth over ``wavelength`` mm, at ``step`` mm."""
    size = [max(4, int(np.ceil(n * step / wavelength)) + 3) for n in shape]
    values = torch.from_numpy(rng.standard_normal(size).astype(np.float32)).to(device)
    # A random sub-cell offset keeps the lattice of the noise away from a fixed place.
    full = [max(int(np.ceil(s * wavelength / step)), n + 2) for s, n in zip(size, shape)]
    field = values[None, None]
    if max(full) > 2 * max(size):
        field = functional.interpolate(field, scale_factor=2, mode="trilinear", align_corners=True)
        field = functional.avg_pool3d(functional.pad(field, (1,) * 6, mode="replicate"), 3, 1)
    field = functional.interpolate(field, size=full, mode="trilinear", align_corners=True)[0, 0]
    start = [int(rng.integers(0, f - n + 1)) for f, n in zip(full, shape)]
    part = field[tuple(slice(a, a + n) for a, n in zip(start, shape))]
    return part * 1.9


@dataclass(frozen=True)
class Layer:
    """A painted shape: its field in mm on the voxels of ``box``."""

    values: torch.Tensor
    box: Box


class Canvas:
    """The tissue voxels of an anatomy, and the warped coordinates of its nodes."""

    def __init__(self, grid: Grid, rng: np.random.Generator, warp_mm: float = 4.0, device: str = "cpu") -> None:
        self.grid = grid
        self.device = device
        self.rng = rng
        self.node_mm = max(NODE_MM, 0.75 * min(grid.spacing))
        self.nodes = grid.coarse(self.node_mm)
        self.tissue = torch.zeros(grid.shape, dtype=torch.uint8, device=device)
        axes = [torch.tensor(self.nodes.axis(a), dtype=torch.float32, device=device) for a in range(3)]
        self.x = axes[0][None, None, :] + warp_mm * self.noise(70.0)
        self.y = axes[1][None, :, None] + warp_mm * self.noise(70.0)
        self.z = axes[2][:, None, None] + warp_mm * self.noise(70.0)
        self._weights = [self._matrix(a) for a in range(3)]

    def noise(self, wavelength: float, box: Box | None = None) -> torch.Tensor:
        """Return unit noise on the nodes (of ``box``), smooth over ``wavelength`` mm."""
        shape = self.nodes.shape if box is None else [s.stop - s.start for s in box]
        return smooth_noise(shape, self.node_mm, wavelength, self.rng, self.device)

    def _matrix(self, axis: int) -> torch.Tensor:
        """Linear interpolation as a matrix (nodes, voxels) along one axis."""
        position = (self.grid.axis(axis) - self.nodes.origin[axis]) / self.node_mm
        low = np.clip(np.floor(position).astype(int), 0, self.nodes.shape[2 - axis] - 2)
        part = position - low
        matrix = np.zeros((self.nodes.shape[2 - axis], len(position)), np.float32)
        columns = np.arange(len(position))
        matrix[low, columns] = 1 - part
        matrix[low + 1, columns] = part
        return torch.from_numpy(matrix).to(self.device)

    def box(self, low: Sequence[float], high: Sequence[float], margin: float = 12.0) -> Box | None:
        """Return the nodes between two corners in RAS mm plus a margin (for the warp), or None when outside."""
        slices = []
        for axis in (2, 1, 0):
            size = self.nodes.shape[2 - axis]
            a = int(np.floor((min(low[axis], high[axis]) - margin - self.nodes.origin[axis]) / self.node_mm))
            b = int(np.ceil((max(low[axis], high[axis]) + margin - self.nodes.origin[axis]) / self.node_mm)) + 1
            a, b = max(a, 0), min(b, size)
            if b - a < 2:
                return None
            slices.append(slice(a, b))
        return slices[0], slices[1], slices[2]

    def coordinates(self, box: Box | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return warped x, y, z in mm of the nodes (of ``box``)."""
        return (self.x, self.y, self.z) if box is None else (self.x[box], self.y[box], self.z[box])

    def voxels(self, box: Box | None) -> Box:
        """Return the voxels that lie between the nodes of ``box``."""
        if box is None:
            return slice(0, self.grid.shape[0]), slice(0, self.grid.shape[1]), slice(0, self.grid.shape[2])
        slices = []
        for axis, part in zip((2, 1, 0), box):
            low = self.nodes.origin[axis] + part.start * self.node_mm
            high = self.nodes.origin[axis] + (part.stop - 1) * self.node_mm
            a = int(np.ceil((low - self.grid.origin[axis]) / self.grid.spacing[axis] - 1e-6))
            b = int(np.floor((high - self.grid.origin[axis]) / self.grid.spacing[axis] + 1e-6)) + 1
            slices.append(slice(max(a, 0), min(max(b, 0), self.grid.shape[2 - axis])))
        return slices[0], slices[1], slices[2]

    def sample(self, field: torch.Tensor, box: Box | None = None) -> torch.Tensor:
        """Interpolate a field on the nodes of ``box`` to the voxels of ``box``."""
        where = self.voxels(box)
        nodes = box or tuple(slice(0, n) for n in self.nodes.shape)
        wz, wy, wx = (self._weights[a][n, v] for a, n, v in zip((2, 1, 0), nodes, where))
        k, j, i = field.shape
        out = (wz.T @ field.reshape(k, j * i)).reshape(-1, j, i)
        out = torch.matmul(wy.T, out)
        return torch.matmul(out, wx)

    def paint(
        self,
        field: torch.Tensor,
        tissue: Tissue,
        box: Box | None = None,
        below: float = 0.0,
        over: Sequence[Tissue] | None = None,
    ) -> Layer:
        """Set ``tissue`` where a field on the nodes of ``box`` is below ``below``, only over the tissues ``over``.

        Returns the layer: the field on the voxels around the shape, to fill its inside with.
        """
        box, field = self._crop(field, box, below)
        layer = Layer(self.sample(field, box), box)
        self.fill(layer.values < below, tissue, box, over)
        return layer

    def _crop(self, field: torch.Tensor, box: Box | None, below: float) -> tuple[Box, torch.Tensor]:
        """Cut a field to the nodes around the shape; a thin shape may lie between nodes, so cells are looked at."""
        start = (0, 0, 0) if box is None else tuple(s.start for s in box)
        inside = field < below
        parts = []
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            found = torch.nonzero(inside.any(others[1]).any(others[0])).flatten()
            low, high = (int(found[0]), int(found[-1])) if len(found) else (0, 0)
            low, high = max(low - 1, 0), min(high + 2, field.shape[axis])
            parts.append(slice(min(low, field.shape[axis] - 2), max(high, 2)))
        moved = [slice(p.start + a, p.stop + a) for p, a in zip(parts, start)]
        return (moved[0], moved[1], moved[2]), field[tuple(parts)]

    def fill(
        self, mask: torch.Tensor, tissue: Tissue, box: Box | None = None, over: Sequence[Tissue] | None = None
    ) -> None:
        """Set ``tissue`` where the voxel ``mask`` of ``box`` is true, only over the tissues ``over``."""
        part = self.tissue[self.voxels(box)]
        if over is not None:
            mask = mask & self.allowed(over)[part.int()]
        part.masked_fill_(mask, int(tissue))

    def allowed(self, tissues: Sequence[Tissue]) -> torch.Tensor:
        """Return a table of 256 booleans that is true for ``tissues``."""
        table = torch.zeros(256, dtype=torch.bool, device=self.device)
        table[[int(t) for t in tissues]] = True
        return table
