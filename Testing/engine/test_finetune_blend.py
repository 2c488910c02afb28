"""Going back from the fine-tuned weights as far as what was known before needs it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from hlfd.networks import build_network
from hlfd.training.finetune_blend import SHARES, blend_back


def network(seed: int):
    torch.manual_seed(seed)
    return build_network("s2d_unet", in_channels=1, classes=2, widths=(4, 8)).eval()


def distance(one, other) -> float:
    return sum(float((one[name] - other[name]).abs().sum()) for name in one if one[name].is_floating_point())


@pytest.mark.parametrize("share", SHARES)
def test_the_largest_share_that_keeps_what_was_known_is_taken(share):
    start, tuned = network(1).state_dict(), network(2)
    whole = distance(tuned.state_dict(), start)

    def known(candidate) -> float:
        return 0.9 if distance(candidate.state_dict(), start) <= (share + 0.01) * whole else 0.5

    assert blend_back(tuned, start, known) == share
    assert distance(tuned.state_dict(), start) == pytest.approx(share * whole, rel=1e-4)


def test_a_gain_counts_as_no_loss():
    start, tuned = network(1).state_dict(), network(2)
    assert blend_back(tuned, start, lambda candidate: distance(candidate.state_dict(), start)) == SHARES[0]


def test_where_every_share_loses_the_smallest_change_stays():
    start, tuned = network(1).state_dict(), network(2)
    share = blend_back(tuned, start, lambda candidate: -distance(candidate.state_dict(), start))
    assert share == SHARES[-1]
