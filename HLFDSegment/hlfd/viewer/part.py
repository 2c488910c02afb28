"""What the networks are shown: a region at working resolution with the student's labels, or a part. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hlfd.events import CancelToken
from hlfd.inference.postprocess import argmax_labels
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.steps import Located
from hlfd.preprocess.frame import AlignedFrame, ObliqueFrame
from hlfd.preprocess.grid import Grid
from hlfd.viewer.networks import class_groups, group_masks
from hlfd.viewer.region import grid_affine, part_of

_WINDOW, _STEP = 32, 8


@dataclass(frozen=True)
class Part:
    """HU (k, j, i) on a working grid, and masks of tumor, kidney and background of that shape."""

    frame: AlignedFrame | ObliqueFrame
    grid: Grid
    hu: NDArray[np.float32]
    masks: Mapping[str, Tensor]
    cut: bool = False
    """Whether it is less than the region."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 IJK->RAS matrix in mm."""
        return grid_affine(self.frame, self.grid)

    @property
    def voxels(self) -> dict[str, int]:
        """How many voxels each mask has."""
        return {name: int(mask.sum()) for name, mask in self.masks.items()}

    @cached_property
    def focus(self) -> list[float]:
        """RAS position in mm of the middle of the tumor where there is most of it, else of the kidney, else of all."""
        masks = self.masks
        mask = next((masks[name] for name in ("tumor", "kidney") if masks[name].any()), None)
        k, j, i = ((n - 1) / 2 for n in self.grid.shape) if mask is None else densest(mask)
        return [float(value) for value in (self.affine @ [i, j, k, 1.0])[:3]]

    def around(self, position: Sequence[float], edge_mm: float, divisor: int) -> Part:
        """Return the cube of ``edge_mm`` around a RAS position in mm, moved into the region where it would leave it.

        Its sizes in voxels are multiples of ``divisor``; it is all of a region that is not larger.
        """
        i, j, k = (np.linalg.inv(self.affine) @ [*position, 1.0])[:3]
        low, high = part_of(self.grid, (k, j, i), edge_mm, divisor)
        if all(b - a == n for a, b, n in zip(low, high, self.grid.shape)):
            return self
        window = tuple(slice(a, b) for a, b in zip(low, high))
        masks = {name: mask[window] for name, mask in self.masks.items()}
        return Part(self.frame, self.grid.crop(low, high), self.hu[window], masks, cut=True)


def densest(mask: Tensor) -> tuple[float, float, float]:
    """Return the mean index of a mask's voxels (k, j, i) in the window of 32 voxels a side that has most of them."""
    blocks = [max(1, min(_WINDOW, n) // _STEP) for n in mask.shape]
    size = [_STEP * n for n in blocks]
    shares = F.avg_pool3d(mask[None, None].float(), _STEP, ceil_mode=True)  # then windows of blocks: much less to add
    counts = F.avg_pool3d(shares, blocks, 1)[0, 0]
    start = [_STEP * int(n) for n in np.unravel_index(int(counts.argmax()), counts.shape)]
    inside = mask[tuple(slice(a, a + n) for a, n in zip(start, size))]
    k, j, i = (a + mean for a, mean in zip(start, inside.nonzero().double().mean(0).tolist()))
    return k, j, i


def region_part(
    segmenter: Segmenter, located: Located, grid: Grid, device: torch.device, cancel: CancelToken | None
) -> Part:
    """Return a region of ``grid`` with the labels of the segmenter's refiner, as masks on ``device``."""
    hu = located.frame.sample(grid)
    labels = torch.from_numpy(argmax_labels(segmenter.refiner_logits(hu, cancel))).to(device)
    return Part(located.frame, grid, hu, group_masks(labels, class_groups(segmenter.package)))
