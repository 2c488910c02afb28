"""Networks by name. Each declares its taps, divisor and receptive field; see ``NetworkDescription``.

Importing this package needs torch; MONAI only when a network made of its blocks is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.networks.base import TAP_NAMES, NetworkDescription, SegmentationNetwork
from hlfd.networks.deeplab_v3_plus import DeepLabV3Plus
from hlfd.networks.dynunet import DynUnet, build_dynunet_small
from hlfd.networks.enet import ENet
from hlfd.networks.erfnet import ErfNet
from hlfd.networks.espnet import EspNet
from hlfd.networks.export import export_onnx, export_openvino
from hlfd.networks.fold import fold_batchnorm
from hlfd.networks.merge import MergeClasses
from hlfd.networks.mobilenet_v2 import MobileNetV2
from hlfd.networks.pspnet import PspNet
from hlfd.networks.ra_unet import RaUNet
from hlfd.networks.resnet_student import ResNetStudent
from hlfd.networks.s2d_unet import S2dUnet, build_s2d_unet_wide
from hlfd.networks.segresnet import SegResNet
from hlfd.networks.unet import UNet
from hlfd.networks.unet_plus_plus import UNetPlusPlus

NETWORKS: dict[str, Callable[..., SegmentationNetwork]] = {
    "s2d_unet": S2dUnet,
    "s2d_unet_wide": build_s2d_unet_wide,
    "dynunet": DynUnet,
    "dynunet_small": build_dynunet_small,
    "segresnet": SegResNet,
    "resnet18": ResNetStudent,
    "mobilenet_v2": MobileNetV2,
    "enet": ENet,
    "erfnet": ErfNet,
    "espnet": EspNet,
    "unet_plus_plus": UNetPlusPlus,
    "ra_unet": RaUNet,
    "unet": UNet,
    "pspnet": PspNet,
    "deeplab_v3_plus": DeepLabV3Plus,
}


def build_network(name: str, **parameters: Any) -> SegmentationNetwork:
    """Build the network ``name`` of ``NETWORKS``; unknown names and parameters raise ``ConfigError``."""
    builder = NETWORKS[look_up(name, list(NETWORKS), "network")]
    try:
        return builder(**parameters)
    except TypeError as error:
        raise ConfigError(f'The network "{name}" cannot take its parameters: {error}.') from error


__all__ = [
    "NETWORKS",
    "TAP_NAMES",
    "MergeClasses",
    "NetworkDescription",
    "SegmentationNetwork",
    "build_network",
    "export_onnx",
    "export_openvino",
    "fold_batchnorm",
]
