"""A package with a small teacher, a student and an undistilled student for the tests of the feature viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import ModelPackage

SPACING = 4.0
CLASSES = ("background", "kidney", "tumor", "cyst")
WINDOWS = ((-200.0, 700.0), (-1000.0, 1000.0))


def write_viewer_package(root: Path, teacher: bool = True, teacher_spacing: float = SPACING) -> ModelPackage:
    """Write an untrained package; the teacher has another number of channels, and strides of its own."""
    import torch

    from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
    from hlfd.networks import build_network

    def make(name: str, seed: int, spacing: float = SPACING, **parameters: Any) -> TrainedNetwork:
        torch.manual_seed(seed)
        settings = {"in_channels": len(WINDOWS), "classes": len(CLASSES), **parameters}
        network = build_network(name, **settings)
        return TrainedNetwork(network, name, settings, spacing, WINDOWS, CLASSES, openvino=name == "s2d_unet")

    facts = PackageFacts(
        name="viewed",
        version="1.0.0",
        title="Small networks",
        task="kidney tumor",
        labels=KIDNEY_LABELS,
        region={"organs": ["kidney"]},
        licence="Apache-2.0",
        notice="For tests.",
    )
    return write_package(
        root,
        facts,
        make("s2d_unet", 1, widths=(8, 16)),
        teacher=make("dynunet_small", 2, teacher_spacing, widths=(6, 12, 12)) if teacher else None,
        undistilled=make("s2d_unet", 3, widths=(8, 16)) if teacher else None,
    )
