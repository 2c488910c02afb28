"""Segmentation losses, computed in float32 whatever the precision of the logits.

Shapes everywhere: logits (B, C, *spatial), labels (B, *spatial) with integer values 0..C-1, 2-D or 3-D. Where several
processes share a batch (``hlfd.collectives``), "over the batch" means all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hlfd.collectives import batch_sum
from hlfd.errors import InputError


class _SoftmaxStatistics(torch.autograd.Function):
    """What Dice, focal and cross-entropy losses need of a softmax, with its gradient written out.

    Several times faster on CPU than the same from softmax, gather and sums: voxels are worked on in blocks that stay in
    the cache, laid out (classes, voxels) so that sums over classes run along voxels; no one-hot tensor is made, and the
    gradient takes one pass. With z the logits of a voxel, p its softmax, y its class and a, b_c, d_c the gradients of
    log p_y, overlap_c and predicted_c:
    dL/dz_c = p_c * (d_c - sum_k(p_k d_k) - p_y b_y - a) + [c = y] * (p_y b_y + a).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        classes, device = logits.shape[1], logits.device
        rows, flat = logits.movedim(1, -1).reshape(-1, classes), labels.reshape(-1).long()
        probabilities = torch.empty(classes, len(rows), dtype=torch.float32, device=device)
        log_p_true = torch.empty(len(rows), dtype=torch.float32, device=device)
        predicted = torch.zeros(classes, dtype=torch.float32, device=device)
        for block in _blocks(probabilities):
            p = probabilities[:, block].copy_(rows[block].t())
            p -= p.amax(0)
            true = p.gather(0, flat[None, block])[0]
            norm = p.exp_().sum(0)
            p /= norm
            log_p_true[block] = true - norm.log()
            predicted += p.sum(1)
        overlap = torch.bincount(flat, log_p_true.double().exp(), minlength=classes).float()
        ctx.save_for_backward(probabilities, flat, log_p_true)
        ctx.shape, ctx.dtype = logits.movedim(1, -1).shape, logits.dtype
        return log_p_true.view(labels.shape), overlap, predicted

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        probabilities, flat, log_p_true = ctx.saved_tensors
        of_log, of_overlap, of_predicted = gradients
        result = torch.empty(len(flat), len(probabilities), dtype=ctx.dtype, device=flat.device)
        own = log_p_true.exp() * of_overlap[flat] + of_log.reshape(-1)
        for block in _blocks(probabilities):
            p = probabilities[:, block]
            common = of_predicted @ p + own[block]
            gradient = (of_predicted[:, None] - common) * p
            result[block] = gradient.scatter_add_(0, flat[None, block], own[None, block]).t().to(ctx.dtype)
        return result.view(ctx.shape).movedim(-1, 1), None


def _blocks(probabilities: Tensor) -> list[slice]:
    """Return slices of the voxels of (classes, voxels), of about 256 KiB each on a CPU."""
    classes, voxels = probabilities.shape
    size = voxels if probabilities.is_cuda else max((1 << 16) // classes, 1024)
    return [slice(start, start + size) for start in range(0, voxels, max(size, 1))]


def _statistics(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p of the true class (B, *spatial), and per class over the batch sum(p * y) and sum(p) + sum(y)."""
    if logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise InputError(
            f"Logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit; logits (B, C, *spatial) and "
            "labels (B, *spatial) were expected."
        )
    log_p_true, overlap, predicted = _SoftmaxStatistics.apply(logits, labels)
    counts = torch.bincount(labels.reshape(-1).long(), minlength=logits.shape[1])
    overlap, total = batch_sum(torch.stack([overlap, predicted + counts.to(predicted.dtype)]))
    return log_p_true, overlap, total


def focal_dice_loss(
    logits: Tensor, labels: Tensor, gamma: float = 2.0, smooth: float = 1.0, voxel_weights: Tensor | None = None
) -> Tensor:
    """0.5 * focal + 0.5 * Dice of the foreground, the segmentation loss L_seg of HLFD.

    Focal = mean over voxels of (1 - p_y)^gamma * (-log p_y), with the factor (1 - p_y)^gamma detached, weighted with
    ``voxel_weights`` (B, *spatial) where they are given. Dice loss =
    1 - (2 * sum(p * y) + smooth) / (sum(p) + sum(y) + smooth) per foreground class over the whole batch, then the mean
    over classes. Source: Gorade et al., ISBI 2024, arXiv 2311.16700; Lin et al., ICCV 2017 (focal).
    """
    log_p_true, overlap, total = _statistics(logits, labels)
    focal_terms = -((1.0 - log_p_true.detach().exp()) ** gamma) * log_p_true
    focal = focal_terms.mean() if voxel_weights is None else _weighted_mean(focal_terms, voxel_weights)
    dice = (2 * overlap + smooth) / (total + smooth)
    return 0.5 * focal + 0.5 * (1.0 - dice[1:].mean())


def dice_ce_loss(
    logits: Tensor,
    labels: Tensor,
    class_weights: Sequence[float] | Tensor | None = None,
    smooth: float = 1e-5,
    voxel_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy plus Dice loss of the foreground over the batch, for supervised training with many classes.

    Equals MONAI's ``DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)`` with the same
    smoothing, without its one-hot tensors. ``class_weights`` (C values) weigh the voxels of the cross-entropy (as in
    ``torch.nn.functional.cross_entropy``) and, normalised, the classes of the Dice term; ``voxel_weights``
    (B, *spatial) weigh voxels of the cross-entropy too. A class that is absent from labels of the batch still counts:
    its Dice is then close to 0 wherever it is predicted.
    """
    log_p_true, overlap, total = _statistics(logits, labels)
    dice_loss = 1.0 - (2 * overlap + smooth) / (total + smooth)
    if class_weights is None:
        loss = -log_p_true.mean() if voxel_weights is None else _weighted_mean(-log_p_true, voxel_weights)
        return loss + dice_loss[1:].mean()
    if len(class_weights) != logits.shape[1]:
        raise InputError(f"{len(class_weights)} class weights were given for {logits.shape[1]} classes.")
    weights = torch.as_tensor(class_weights, dtype=torch.float32, device=logits.device)
    of_voxels = weights[labels.long()]
    cross_entropy = _weighted_mean(-log_p_true, of_voxels if voxel_weights is None else of_voxels * voxel_weights)
    return cross_entropy + (weights[1:] * dice_loss[1:]).sum() / weights[1:].sum()


def label_loss(loss: Callable[..., Tensor], logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return ``loss`` of logits and ``batch["label"]``, with the voxel weights ``batch["weight"]`` where there are."""
    weights = {"voxel_weights": batch["weight"]} if "weight" in batch else {}
    return loss(logits, batch["label"], **weights)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over the batch of ``values`` with ``weights``, both (B, *spatial)."""
    weighted, total = batch_sum(torch.stack([(weights * values).sum(), weights.sum()]))
    return weighted / total
