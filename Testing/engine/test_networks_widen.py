"""A wide network begins as the function of a narrow one."""

from __future__ import annotations

import pytest

from hlfd.errors import ConfigError

pytest.importorskip("torch")

import torch

from hlfd.networks import build_network
from hlfd.networks.widen import widen

CHANNELS = {"in_channels": 2, "classes": 4}


def trained(widths: list[int], **parameters) -> torch.nn.Module:
    """A network whose norms have seen images, so that none of its tensors is a default."""
    torch.manual_seed(3)
    network = build_network("s2d_unet", **CHANNELS, widths=widths, **parameters)
    dims = parameters.get("spatial_dims", 3)
    for _ in range(3):
        network(torch.randn(2, 2, *[16] * dims))
    return network.eval()


def wider(widths: list[int], **parameters) -> torch.nn.Module:
    return build_network("s2d_unet", **CHANNELS, widths=widths, **parameters).eval()


@pytest.mark.parametrize("widths", [[8, 16, 24], [4, 9, 13], [5, 6, 12]])
@pytest.mark.parametrize("dims", [2, 3])
def test_without_noise_the_function_is_the_same(widths, dims):
    narrow, wide = trained([4, 6, 12], spatial_dims=dims), wider(widths, spatial_dims=dims)
    image = torch.randn(1, 2, *[16] * dims)
    before = wide(image)
    widen(narrow, wide, noise=0)
    torch.testing.assert_close(wide(image), narrow(image), rtol=1e-4, atol=1e-5)
    assert (before - narrow(image)).abs().max() > 0.1


def test_in_training_mode_too_and_the_narrow_network_is_left_as_it_was():
    narrow, wide = trained([4, 6, 12]), wider([8, 12, 24])
    kept = {name: tensor.clone() for name, tensor in narrow.state_dict().items()}
    widen(narrow, wide, noise=0)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in narrow.state_dict().items())
    image = torch.randn(2, 2, 16, 16, 16)
    torch.testing.assert_close(wide.train()(image), narrow.train()(image), rtol=1e-3, atol=1e-4)


def test_copies_learn_different_things_and_begin_close():
    narrow, wide = trained([4, 6, 12]), wider([8, 12, 24])
    widen(narrow, wide)
    image = torch.randn(1, 2, 16, 16, 16)
    change = (wide(image) - narrow(image)).std() / narrow(image).std()
    assert 0 < change < 0.2
    first = wide.stem[0].weight
    assert torch.equal(first[:4], narrow.stem[0].weight)
    assert not torch.equal(first[:4], first[4:])


def test_the_noise_depends_on_the_seed_alone():
    first, again, other = (wider([8, 12, 24]) for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        widen(trained([4, 6, 12]), network, seed=seed)
    assert torch.equal(first.stem[0].weight, again.stem[0].weight)
    assert not torch.equal(first.stem[0].weight, other.stem[0].weight)


@pytest.mark.parametrize("widths", [[2, 6, 12], [8, 6, 11], [8, 12]])
def test_a_narrower_or_other_network_is_refused(widths):
    wide = wider(widths)
    kept = wide.stem[0].weight.clone()
    with pytest.raises(ConfigError, match="wider layers"):
        widen(trained([4, 6, 12]), wide)
    assert torch.equal(wide.stem[0].weight, kept)


def test_networks_that_join_their_skips_are_refused():
    joined = build_network("dynunet_small", **CHANNELS)
    with pytest.raises(ConfigError, match="space-to-depth"):
        widen(joined, joined)
