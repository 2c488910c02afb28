"""Weights between those of the student as it was and those of the fine-tuned one, so that little is forgotten.

Between the two the loss hardly rises where both come from one training, and the middle is more robust than either end:
Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (arXiv 2109.01903).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hlfd.networks import SegmentationNetwork

SHARES = (0.75, 0.5, 0.25)
"""Never all of the change: replayed patients are simpler than those the student learned from and do not show all that
is lost. On the scanners it was measured on (docs/results.md) three quarters brought twice what half of it did and cost
old test cases nothing after 300 steps; after 1,000 steps they would have cost 0.01 of tumor Dice."""
ALLOWED_LOSS = 0.005
"""Of the mean Dice on replayed patients."""


def blend_back(
    network: SegmentationNetwork,
    start: Mapping[str, Tensor],
    known: Callable[[SegmentationNetwork], float],
    allowed_loss: float = ALLOWED_LOSS,
) -> float:
    """Move the weights of ``network`` back towards ``start``; return the share of the change that stays.

    ``known`` measures what must not be lost, in Dice. The largest of ``SHARES`` is taken with which it falls by at most
    ``allowed_loss`` from what ``start`` has; the smallest where it falls more with every one.
    """
    tuned = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    least = _at(network, start, tuned, 0.0, known) - allowed_loss
    for share in SHARES:
        if _at(network, start, tuned, share, known) >= least:
            break
    return share


def _at(
    network: SegmentationNetwork,
    start: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    share: float,
    known: Callable[[SegmentationNetwork], float],
) -> float:
    """Give the network the weights at ``share`` of the way from ``start`` to ``tuned``; return what it then knows."""
    network.load_state_dict(blended(start, tuned, share))
    return known(network.eval())


def blended(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return the weights at ``share`` of the way from ``start`` to ``tuned``; counters are those of ``tuned``."""
    return {
        name: torch.lerp(start[name].to(tensor), tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in tuned.items()
    }
