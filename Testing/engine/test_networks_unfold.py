"""Packaged weights, whose batch norm is folded, can be trained further."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hlfd.checkpoint import save_weights
from hlfd.errors import ModelError
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network, fold_batchnorm
from hlfd.networks.unfold import load_for_training, load_other_classes


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


def _build(channels: int) -> SegmentationNetwork:
    return build_network("s2d_unet", in_channels=2, classes=channels, widths=[4, 8])


def test_weights_of_other_classes_give_the_same_logits_for_the_classes_that_stay(tmp_path: Path) -> None:
    trained = _trained()
    save_weights(fold_batchnorm(trained), tmp_path / "folded.safetensors")
    images = [torch.randn(2, 2, 16, 16, 16) for _ in range(2)]
    had, classes = ["kidney", "tumor", "liver"], ["liver", "liver tumor", "spleen", "kidney"]
    network = _build(5)
    anew = load_other_classes(network, _build, tmp_path / "folded.safetensors", images, had, classes)
    assert anew == ["liver tumor", "spleen"]
    expected = trained.network.eval()(images[0])
    torch.testing.assert_close(network.eval()(images[0])[:, [0, 1, 4]], expected[:, [0, 3, 1]], atol=1e-4, rtol=1e-4)


def test_as_many_but_other_classes_do_not_keep_the_channels_of_the_old_ones(tmp_path: Path) -> None:
    trained = _trained()
    save_weights(fold_batchnorm(trained), tmp_path / "folded.safetensors")
    image = torch.randn(2, 2, 16, 16, 16)
    network = _build(4)
    classes = ["liver", "spleen", "kidney"]
    load_other_classes(network, _build, tmp_path / "folded.safetensors", [image], ["kidney", "tumor", "liver"], classes)
    got, expected = network.eval()(image), trained.network.eval()(image)
    torch.testing.assert_close(got[:, [1, 3]], expected[:, [3, 1]], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(got[:, 2], expected[:, 2], atol=0.1)


def test_weights_that_were_trained_for_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    save_weights(fold_batchnorm(_trained()), tmp_path / "folded.safetensors")
    with pytest.raises(ModelError, match="shape"):
        load_other_classes(_build(3), _build, tmp_path / "folded.safetensors", [], ["kidney"], ["liver", "spleen"])
