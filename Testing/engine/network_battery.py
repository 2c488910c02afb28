"""What every network must do, as one class of tests that those of a network inherit."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from hlfd.checkpoint import load_weights, save_weights
from hlfd.errors import GeometryError
from hlfd.networks import (
    TAP_NAMES,
    SegmentationNetwork,
    build_network,
    export_onnx,
    export_openvino,
    fold_batchnorm,
)

CLASSES = 3


def size_of(network: SegmentationNetwork, *blocks: int) -> list[int]:
    return [network.divisor * n for n in blocks[: network.description.spatial_dims]]


def trained(network: SegmentationNetwork) -> SegmentationNetwork:
    """Give the batch norms statistics and weights that differ from those of a fresh network."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return network.eval()


class NetworkBattery:
    """What every network must do; a subclass names it and gives parameters that make it tiny."""

    name: str
    tiny: ClassVar[dict[str, Any]]
    folds = True
    dims = 3
    """Number of axes of most tests."""

    def build(self, spatial_dims: int | None = None, **more: Any) -> SegmentationNetwork:
        torch.manual_seed(0)
        spatial_dims = spatial_dims or self.dims
        return build_network(
            self.name, **{"in_channels": 2, "classes": CLASSES, **self.tiny, **more}, spatial_dims=spatial_dims
        )

    @pytest.mark.parametrize("spatial_dims", [2, 3])
    def test_logits_have_the_size_of_the_image(self, spatial_dims: int):
        network = self.build(spatial_dims).eval()
        image = torch.randn(1, 2, *size_of(network, 1, 2, 3))
        with torch.no_grad():
            logits = network(image)
        assert logits.shape == (1, CLASSES, *image.shape[2:])
        assert torch.isfinite(logits).all()

    def test_taps_name_modules_whose_sizes_fall_and_rise(self):
        network = self.build().eval()
        assert tuple(network.taps) == TAP_NAMES
        sizes: dict[str, int] = {}
        for tap, path in network.taps.items():
            network.get_submodule(path).register_forward_hook(
                lambda module, args, output, tap=tap: sizes.__setitem__(tap, output.shape[-1])
            )
        image = torch.randn(1, 2, *size_of(network, 1, 2, 2))
        with torch.no_grad():
            network(image)
        encoder = [sizes[f"e{i}"] for i in range(1, 6)]
        decoder = [sizes[f"d{i}"] for i in (5, 4, 3, 2)]
        assert encoder == sorted(encoder, reverse=True)
        assert decoder == sorted(decoder)
        assert sizes["out"] == image.shape[-1] == network.divisor * 2

    def test_gradient_reaches_every_parameter(self):
        network = self.build().train()
        network(torch.randn(2, 2, *size_of(network, 1, 1, 2))).square().mean().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert without == []

    def test_no_pointwise_convolution_has_a_stride(self):
        convolutions = [module for module in self.build().modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
        strided = [c for c in convolutions if set(c.kernel_size) == {1} and set(c.stride) != {1}]
        assert strided == []  # oneDNN writes past its memory in their backward pass: hlfd.networks.blocks.thinned

    def test_the_receptive_field_is_what_reaches_a_voxel(self):
        network = self.build(spatial_dims=2, **self.small_field()).double().eval()
        for parameter in network.parameters():
            nn.init.uniform_(parameter, 0.01, 0.1)  # positive, so that no path is cut by a ReLU
        step, blocks = network.divisor, -(-network.receptive_field // network.divisor) + 4
        spans = []
        for position in range(step * (blocks // 2), step * (blocks // 2 + 1)):
            image = torch.rand(1, 2, step, step * blocks, requires_grad=True, dtype=torch.float64)
            network(image)[0, :, 0, position].sum().backward()
            reached = image.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
            spans.append(int(reached.max() - reached.min()) + 1)
        assert max(spans) == network.receptive_field

    def small_field(self) -> dict[str, Any]:
        return {}

    @pytest.mark.parametrize("half", [False, True])
    def test_saved_weights_give_the_same_logits(self, tmp_path, half: bool):
        network, path = trained(self.build()), tmp_path / "weights.safetensors"
        save_weights(network, path, half=half)
        other = load_weights(self.build(), path).eval()
        image = torch.randn(1, 2, *size_of(network, 1, 1, 2))
        with torch.no_grad():
            expected = network(image)
            difference = (expected - other(image)).abs().max()
        assert difference <= (2e-2 * max(1.0, float(expected.abs().max())) if half else 0)

    def test_folding_batch_norm_keeps_the_logits(self):
        network = trained(self.build())
        folded = fold_batchnorm(network)
        image = torch.randn(1, 2, *size_of(network, 1, 1, 2))
        with torch.no_grad():
            assert torch.allclose(network(image), folded(image), atol=1e-4)
        left = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert not left or not self.folds

    def test_folded_weights_load_into_a_fresh_network(self, tmp_path):
        network = fold_batchnorm(trained(self.build()))
        save_weights(network, tmp_path / "folded.safetensors")
        other = load_weights(self.build(), tmp_path / "folded.safetensors").eval()
        image = torch.randn(1, 2, *size_of(network, 1, 1, 2))
        with torch.no_grad():
            assert torch.equal(network(image), other(image))

    def test_openvino_gives_the_same_logits_at_every_size(self, tmp_path):
        openvino = pytest.importorskip("openvino")
        network = fold_batchnorm(trained(self.build()))
        path = export_openvino(network, tmp_path / "network.xml", half=False)
        compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.assert_same(network, lambda image: compiled({"image": image})["logits"])

    def test_onnx_gives_the_same_logits_at_every_size(self, tmp_path):
        onnxruntime = pytest.importorskip("onnxruntime")
        network = fold_batchnorm(trained(self.build()))
        session = onnxruntime.InferenceSession(str(export_onnx(network, tmp_path / "network.onnx")))
        self.assert_same(network, lambda image: session.run(["logits"], {"image": image})[0])

    @staticmethod
    def assert_same(network: nn.Module, run: Any) -> None:
        for batch, blocks in ((1, (2, 1, 1)), (2, (1, 2, 3))):
            image = torch.randn(batch, 2, *size_of(network, *blocks))
            with torch.no_grad():
                expected = network(image).numpy()
            assert np.abs(run(image.numpy()) - expected).max() < 1e-3

    def test_a_size_that_does_not_fit_is_refused_with_the_size_that_does(self):
        network = self.build()
        with pytest.raises(
            GeometryError, match=rf"not a multiple of {network.divisor}.*Pad it to \({network.divisor},"
        ):
            network(torch.zeros(1, 2, 1, *size_of(network, 1, 1, 1)[1:]))

    def test_wrong_channels_are_refused(self):
        network = self.build()
        with pytest.raises(GeometryError, match="C = 2 was expected"):
            network(torch.zeros(1, 5, *size_of(network, 1, 1, 1)))
