"""Sums over a batch that several processes share, with exact gradients.

A loss that is not a mean over samples, such as Dice over the batch, needs sums over the whole batch. Each process has
only its share of it, so such a loss passes its sums through ``batch_sum``. Outside of ``shared_batch``, as in one
process, that does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

_shared = False  # not thread-local: autograd runs checkpointed forward passes in threads of its own


@contextlib.contextmanager
def shared_batch() -> Iterator[None]:
    """Within the context the batch of every process of torch's default group is a share of one batch.

    All processes must make the same calls of ``batch_sum`` and ``batch_gather`` in the same order, in the forward pass
    and in the backward pass, which belongs into the context too.
    """
    global _shared
    before, _shared = _shared, True
    try:
        yield
    finally:
        _shared = before


def batch_is_shared() -> bool:
    """Whether this is within ``shared_batch``."""
    return _shared


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _all_reduced(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduced(gradient)


def _all_reduced(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


def batch_sum(tensor: Tensor) -> Tensor:
    """Return the sum of ``tensor`` over the processes (any shape, the same in all).

    The gradient is that of the sum of the losses of all processes, which averaging the parameters' gradients over the
    processes turns into that of their mean.
    """
    return _Sum.apply(tensor) if _shared else tensor


@torch.no_grad()
def batch_gather(tensor: Tensor) -> Tensor:
    """Return ``tensor`` of all processes stacked along a new first axis (processes, *shape), without gradient."""
    if not _shared:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.stack(parts)


def batch_cat(tensor: Tensor) -> Tensor:
    """Return ``tensor`` (B, ...) of all processes along the first axis, in the order of the samples of the batch.

    For losses that relate samples to each other; gradients are those of ``batch_sum``. All processes get the whole, so
    only small tensors should go through it.
    """
    if not _shared:
        return tensor
    sizes = batch_gather(torch.tensor([len(tensor)], device=tensor.device))[:, 0].tolist()
    before = sum(sizes[: torch.distributed.get_rank()])
    padding = (before, sum(sizes) - before - len(tensor))
    own = torch.nn.functional.pad(tensor.flatten(1).T, padding).T  # zeros where the samples of the others go
    return batch_sum(own).reshape(-1, *tensor.shape[1:])


def batch_ratio(numerator: Tensor, denominator: Tensor, least: float = 0.0) -> Tensor:
    """Return the sum of ``numerator`` over the batch by the sum of ``denominator``, at least ``least``; 0-d tensors."""
    above, below = batch_sum(torch.stack([numerator, denominator.to(numerator.dtype)]))
    return above / below.clamp(min=least)
