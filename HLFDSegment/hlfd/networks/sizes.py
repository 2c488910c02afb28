"""Size and work of a network, counted without computing anything."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hlfd.config import look_up
from hlfd.errors import GeometryError
from hlfd.networks import NETWORKS, build_network

SIDES = {2: 384, 3: 96}
"""Side in voxels of the image that work is counted for: the crop of the papers, and a patch in 3-D."""


@dataclass(frozen=True)
class NetworkSize:
    """What ``hlfd networks`` tells about one network."""

    name: str
    spatial_dims: int
    classes: int
    input_shape: tuple[int, ...]
    """Channels and spatial size of the image that ``gmac`` is for."""
    parameters: int
    gmac: float
    """Billions of multiply-adds of its convolutions and matrix products, with batch norm folded away."""
    divisor: int
    receptive_field: int
    taps: dict[str, str]
    summary: str
    """First line of its description."""


def measure(name: str, in_channels: int = 1, classes: int = 2, side: int | None = None, **more: Any) -> NetworkSize:
    """Build the network ``name`` of ``NETWORKS`` without memory for weights and count its parameters and work.

    ``side`` is the side of the square or cubic image, by default ``SIDES``; ``more`` are parameters of the builder.
    Raises ``ConfigError`` for an unknown network and ``GeometryError`` for a side that does not fit.
    """
    look_up(name, list(NETWORKS), "network")
    with torch.device("meta"):
        network = build_network(name, in_channels=in_channels, classes=classes, **more).eval()
        facts = network.description
        size = SIDES[facts.spatial_dims] if side is None else side
        if size < 1 or size % facts.divisor:
            raise GeometryError(f"{size} voxels do not fit {name}.", f"Choose a multiple of {facts.divisor}.")
        image = torch.zeros(1, in_channels, *[size] * facts.spatial_dims)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return NetworkSize(
        name,
        facts.spatial_dims,
        classes,
        tuple(image.shape[1:]),
        sum(parameter.numel() for parameter in network.parameters()),
        counter.get_total_flops() / 2e9,
        facts.divisor,
        facts.receptive_field,
        dict(facts.taps),
        (inspect.getdoc(NETWORKS[name]) or "").split("\n")[0],
    )
