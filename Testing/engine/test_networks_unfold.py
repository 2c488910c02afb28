"""Packaged weights, whose batch norm is folded, can be trained further."""

from __future__ import annotations

from pathlib import Path

import torch

from hlfd.checkpoint import save_weights
from hlfd.networks import MergeClasses, build_network, fold_batchnorm
from hlfd.networks.unfold import load_for_training


def _trained() -> torch.nn.Module:
    torch.manual_seed(3)
    network = MergeClasses(build_network("s2d_unet", in_channels=2, classes=4, widths=[4, 8]), [[0, 3], [1], [2]])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.weight, 1.0, 0.3)
            torch.nn.init.normal_(module.bias)
    return network.eval()


def _fresh() -> MergeClasses:
    return MergeClasses(build_network("s2d_unet", in_channels=2, classes=4, widths=[4, 8]), [[0, 3], [1], [2]])


def test_a_folded_network_gives_the_same_logits_with_its_batch_norm_back(tmp_path: Path) -> None:
    trained = _trained()
    save_weights(fold_batchnorm(trained), tmp_path / "folded.safetensors")
    images = [torch.randn(2, 2, 16, 16, 16) for _ in range(3)]
    restored = load_for_training(_fresh(), tmp_path / "folded.safetensors", images).eval()
    torch.testing.assert_close(restored(images[0]), trained(images[0]), atol=1e-4, rtol=1e-4)


def test_its_norms_hold_the_statistics_of_what_they_see(tmp_path: Path) -> None:
    save_weights(fold_batchnorm(_trained()), tmp_path / "folded.safetensors")
    image = torch.randn(4, 2, 16, 16, 16)
    restored = load_for_training(_fresh(), tmp_path / "folded.safetensors", [image])
    torch.testing.assert_close(restored.train()(image), restored.eval()(image), atol=1e-2, rtol=1e-2)


def test_weights_with_batch_norm_are_loaded_as_they_are(tmp_path: Path) -> None:
    trained = _trained()
    save_weights(trained, tmp_path / "whole.safetensors")
    restored = load_for_training(_fresh(), tmp_path / "whole.safetensors", [])
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(restored.state_dict()[name], tensor)
