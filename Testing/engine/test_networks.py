"""The networks of the project under the battery of tests that all inherit, and the tests of what they share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from hlfd.errors import ConfigError, GeometryError
from hlfd.networks import NETWORKS, MergeClasses, build_network, export_openvino, fold_batchnorm
from Testing.engine import test_networks_2d
from Testing.engine.network_battery import NetworkBattery, size_of, trained


class TestS2dUnet(NetworkBattery):
    name = "s2d_unet"
    tiny: ClassVar = {"widths": (4, 6, 8)}

    def test_the_default_has_about_a_million_parameters(self):
        assert sum(p.numel() for p in build_network("s2d_unet").parameters()) == pytest.approx(1.07e6, rel=0.01)

    @pytest.mark.parametrize("stem_stride", [1, 3, 4])
    def test_the_stem_stride_sets_the_divisor(self, stem_stride: int):
        network = self.build(stem_stride=stem_stride).eval()
        assert network.divisor == stem_stride * 4
        image = torch.zeros(1, 2, *size_of(network, 1, 1, 1))
        assert network(image).shape[2:] == image.shape[2:]


class TestS2dUnetWide(NetworkBattery):
    name = "s2d_unet_wide"
    tiny: ClassVar = {"widths": (4, 6)}


class TestDynUnet(NetworkBattery):
    name = "dynunet"
    tiny: ClassVar = {"widths": (4, 6, 8)}

    def small_field(self) -> dict[str, Any]:
        return {"norm": "batch"}  # instance norm looks at the whole image

    def test_instance_norm_refuses_an_image_of_one_block(self):
        network = self.build()
        with pytest.raises(GeometryError, match=r"one block.*Pad one axis to 8"):
            network(torch.zeros(1, 2, 4, 4, 4))

    def test_the_teacher_is_as_large_as_in_nnunet(self):
        assert sum(p.numel() for p in build_network("dynunet").parameters()) == pytest.approx(31.2e6, rel=0.01)


class TestDynUnetSmall(NetworkBattery):
    name = "dynunet_small"
    tiny: ClassVar = {"widths": (4, 6, 8), "norm": "batch"}

    def test_it_fits_into_25_megabytes_of_half_precision(self):
        assert 2 * sum(p.numel() for p in build_network("dynunet_small").parameters()) < 25e6


class TestSegResNet(NetworkBattery):
    name = "segresnet"
    tiny: ClassVar = {"init_filters": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1), "norm": "batch"}
    folds = False  # its norms come before the convolutions


class TestMergeClasses:
    groups = ((0, 3), (2,), (1, 4))

    def build(self) -> MergeClasses:
        torch.manual_seed(0)
        return MergeClasses(build_network("s2d_unet", classes=5, widths=(4, 6)), self.groups).eval()

    def test_probabilities_of_the_members_add_up(self):
        merged = self.build()
        image = torch.randn(1, 1, 4, 8, 8)
        with torch.no_grad():
            of_members = merged.network(image).softmax(1)
            of_groups = merged(image).softmax(1)
        expected = torch.stack([of_members[:, list(group)].sum(1) for group in self.groups], 1)
        assert torch.allclose(of_groups, expected, atol=1e-6)

    def test_large_logits_do_not_overflow(self):
        from hlfd.networks.merge import merge_logits

        logits = torch.tensor([500.0, 500.0, -500.0]).reshape(1, 3, 1)
        assert merge_logits(logits, [[0, 1], [2]]).flatten().tolist() == pytest.approx([500.6931, -500.0])

    def test_taps_and_folding_reach_the_merged_network(self, tmp_path):
        merged = trained(self.build())
        assert all(merged.get_submodule(path) for path in merged.taps.values())
        folded = fold_batchnorm(merged)
        assert not any(isinstance(m, nn.BatchNorm3d) for m in folded.modules())
        openvino = pytest.importorskip("openvino")
        path = export_openvino(folded, tmp_path / "merged.xml")
        image = torch.randn(1, 1, 8, 4, 12)
        compiled = openvino.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        with torch.no_grad():
            assert np.abs(compiled(image.numpy())[0] - merged(image).numpy()).max() < 2e-2

    @pytest.mark.parametrize("groups", [[[0], [1]], [[0, 1, 2, 3, 4], []], [[0, 1, 2], [2, 3, 4]]])
    def test_groups_that_are_no_partition_are_refused(self, groups):
        with pytest.raises(ConfigError, match="exactly once"):
            MergeClasses(build_network("s2d_unet", classes=5, widths=(4, 6)), groups)


def test_every_network_has_its_battery():
    batteries = {*NetworkBattery.__subclasses__(), *test_networks_2d.PaperBattery.__subclasses__()}
    assert {battery.name for battery in batteries if hasattr(battery, "name")} == set(NETWORKS)


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(ConfigError, match=r'known are s2d_unet, .*Did you mean "dynunet_small"'):
        build_network("dynunet_smal")


def test_an_unknown_parameter_is_refused():
    with pytest.raises(ConfigError, match="unexpected keyword argument 'wdths'"):
        build_network("s2d_unet", wdths=(4, 6))


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"classes": 1}, "classes is 1"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"spatial_dims": 4}, "2 or 3 was expected"),
        ({"widths": (8,)}, "at least 2 positive"),
        ({"stem_stride": 0}, "at least 1"),
    ],
)
def test_parameters_that_make_no_network_are_refused(parameters: dict[str, Any], fault: str):
    with pytest.raises(ConfigError, match=fault):
        build_network("s2d_unet", **parameters)
