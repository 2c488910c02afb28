"""Feature maps brought to a common size, and checks of their shapes. All for 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from hlfd.errors import InputError

_MODES = {3: "linear", 4: "bilinear", 5: "trilinear"}


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, *spatial) by linear interpolation (align_corners False); the same tensor if it fits already."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    if x.is_cuda or x.dtype != torch.float32 or _product(size) < _product(x.shape[2:]):
        return F.interpolate(x, size=tuple(size), mode=_MODES[x.ndim], align_corners=False)
    # Enlarging on a CPU: one product of matrices per axis takes a fifth of the time of the interpolation kernel.
    for axis, count in reversed(list(enumerate(size, start=2))):
        if x.shape[axis] != count:
            x = _enlarge(x, axis, count)
    return x


def _enlarge(x: Tensor, axis: int, count: int) -> Tensor:
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    matrix = _linear_matrix(x.shape[axis], count).to(x.device)
    if axis == x.ndim - 1:
        return (x.reshape(-1, x.shape[axis]) @ matrix.T).reshape(shape)
    after = _product(x.shape[axis + 1 :])
    return torch.matmul(matrix, x.reshape(-1, x.shape[axis], after)).reshape(shape)


@lru_cache(maxsize=64)
def _linear_matrix(have: int, count: int) -> Tensor:
    """Return the weights (count, have) of linear interpolation along one axis, align_corners False."""
    with torch.inference_mode(False):  # kept for later calls, which may want a gradient
        one = torch.eye(have)[None]
        return F.interpolate(one, size=count, mode="linear", align_corners=False)[0].T.contiguous()


def pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average (B, C, *spatial) over blocks so that ``size`` remains; the same tensor if it fits already."""
    return x if tuple(x.shape[2:]) == tuple(size) else F.interpolate(x, size=tuple(size), mode="area")


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Resize an integer map (B, *spatial) to ``size`` by the nearest value; returns int64."""
    if tuple(labels.shape[1:]) == tuple(size):
        return labels.long()
    return F.interpolate(labels[:, None].float(), size=tuple(size), mode="nearest")[:, 0].long()


def smallest_size(maps: Sequence[Tensor]) -> tuple[int, ...]:
    """Return the spatial size of the map with the fewest voxels."""
    return min((tuple(x.shape[2:]) for x in maps), key=lambda size: (_product(size), size))


def _product(size: Sequence[int]) -> int:
    result = 1
    for n in size:
        result *= n
    return result


def check_pair(student: Tensor, teacher: Tensor, same_channels: bool = False, same_size: bool = False) -> None:
    """Raise ``InputError`` unless two feature maps belong to the same batch and, where asked for, fit in shape."""
    fits = student.ndim == teacher.ndim and student.ndim in _MODES and student.shape[0] == teacher.shape[0]
    fits = fits and (not same_channels or student.shape[1] == teacher.shape[1])
    fits = fits and (not same_size or student.shape[2:] == teacher.shape[2:])
    if not fits:
        wanted = ["batch", *(["channels"] if same_channels else []), *(["spatial size"] if same_size else [])]
        raise InputError(
            f"Student {tuple(student.shape)} and teacher {tuple(teacher.shape)} do not fit; (B, C, *spatial) in 2-D or "
            f"3-D with the same {', '.join(wanted)} was expected."
        )


def check_labels(x: Tensor, labels: Tensor) -> None:
    """Raise ``InputError`` unless ``labels`` (B, *spatial) belongs to the batch of ``x`` (B, C, *spatial)."""
    if labels.ndim != x.ndim - 1 or labels.shape[0] != x.shape[0]:
        raise InputError(
            f"Labels {tuple(labels.shape)} do not belong to features {tuple(x.shape)}; (B, *spatial) was expected."
        )
    if labels.is_floating_point():
        raise InputError(f"Labels are {labels.dtype}; integers were expected.")
