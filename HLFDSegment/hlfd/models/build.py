"""From an entry of a model package to the torch network with its weights; importing this module needs torch."""

from __future__ import annotations

from hlfd.checkpoint import load_weights
from hlfd.models.package import NetworkEntry
from hlfd.networks import MergeClasses, SegmentationNetwork, build_network


def load_network(entry: NetworkEntry) -> SegmentationNetwork:
    """Build the network of ``entry``, load its weights as float32, and return it in eval mode on the CPU.

    The network maps (B, windows, k, j, i) to logits (B, classes, k, j, i), trained channels already merged. Raises
    ``ConfigError`` for an unknown network or parameter and ``ModelError`` for weights that do not fit.
    """
    network = build_network(entry.network, **entry.parameters)
    if entry.groups:
        network = MergeClasses(network, entry.groups)
    loaded: SegmentationNetwork = load_weights(network, entry.weights)  # type: ignore[assignment]
    return loaded.eval()
