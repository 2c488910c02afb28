"""Segmentation losses, computed in float32 whatever the precision of the logits.

Shapes everywhere: logits (B, C, *spatial), labels (B, *spatial) with integer values 0..C-1, 2-D or 3-D.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hlfd.errors import InputError


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise InputError(
            f"Logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit; logits (B, C, *spatial) and "
            "labels (B, *spatial) were expected."
        )


def _log_probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log softmax (B, C, *spatial) in float32 and, of the true class, (B, 1, *spatial)."""
    _check(logits, labels)
    log_p = functional.log_softmax(logits.float(), dim=1)
    return log_p, log_p.gather(1, labels.long().unsqueeze(1))


def _dice_terms(log_p: Tensor, log_p_true: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return per class over the batch: sum of p * y, and sum of p plus sum of y; both (C,).

    Sums per true class replace the one-hot tensor, which would be as large as the logits.
    """
    classes = log_p.shape[1]
    flat = labels.long().flatten()
    zeros = torch.zeros(classes, dtype=log_p.dtype, device=log_p.device)
    overlap = zeros.index_add(0, flat, log_p_true.exp().flatten())
    predicted = log_p.exp().transpose(0, 1).flatten(1).sum(1)
    return overlap, predicted + torch.bincount(flat, minlength=classes).to(log_p.dtype)


def focal_dice_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0, smooth: float = 1.0) -> Tensor:
    """0.5 * focal + 0.5 * Dice of the foreground, the segmentation loss L_seg of HLFD.

    Focal = mean over voxels of (1 - p_y)^gamma * (-log p_y), with the factor (1 - p_y)^gamma detached. Dice loss =
    1 - (2 * sum(p * y) + smooth) / (sum(p) + sum(y) + smooth) per foreground class over the whole batch, then the mean
    over classes. Source: Gorade et al., ISBI 2024, arXiv 2311.16700; Lin et al., ICCV 2017 (focal).
    """
    log_p, log_p_true = _log_probabilities(logits, labels)
    factor = (1.0 - log_p_true.detach().exp()) ** gamma
    focal = -(factor * log_p_true).mean()
    overlap, total = _dice_terms(log_p, log_p_true, labels)
    dice = (2 * overlap + smooth) / (total + smooth)
    return 0.5 * focal + 0.5 * (1.0 - dice[1:].mean())


def dice_ce_loss(
    logits: Tensor, labels: Tensor, class_weights: Sequence[float] | Tensor | None = None, smooth: float = 1e-5
) -> Tensor:
    """Cross-entropy plus Dice loss of the foreground over the batch, for supervised training with many classes.

    Equals MONAI's ``DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)`` with the same
    smoothing, without its one-hot tensors. ``class_weights`` (C values) weigh the voxels of the cross-entropy (as in
    ``torch.nn.functional.cross_entropy``) and, normalised, the classes of the Dice term. A class that is absent
    from labels of the batch still counts: its Dice is then close to 0 wherever it is predicted.
    """
    log_p, log_p_true = _log_probabilities(logits, labels)
    overlap, total = _dice_terms(log_p, log_p_true, labels)
    dice_loss = 1.0 - (2 * overlap + smooth) / (total + smooth)
    if class_weights is None:
        return -log_p_true.mean() + dice_loss[1:].mean()
    if len(class_weights) != logits.shape[1]:
        raise InputError(f"{len(class_weights)} class weights were given for {logits.shape[1]} classes.")
    weights = torch.as_tensor(class_weights, dtype=log_p.dtype, device=log_p.device)
    voxel_weights = weights[labels.long()].unsqueeze(1)
    cross_entropy = -(voxel_weights * log_p_true).sum() / voxel_weights.sum()
    return cross_entropy + (weights[1:] * dice_loss[1:]).sum() / weights[1:].sum()
