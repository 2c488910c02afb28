"""Batch norm back into a network whose packaged weights have it folded away, so that training can go on from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.checkpoint import load_weights
from hlfd.networks.base import SegmentationNetwork
from hlfd.networks.fold import foldable_pairs
from hlfd.networks.merge import MergeClasses


def load_for_training(network: SegmentationNetwork, weights: Path, images: Iterable[Tensor]) -> SegmentationNetwork:
    """Load packaged or trained weights into ``network`` (with batch norm), ready to be trained further.

    Where the file's batch norm is folded, it is restored with the statistics of ``images`` (each (B, C, *spatial), as
    in training): in eval mode the network gives what the folded one gives, and its norms start from the true mean
    and variance. Raises ``ModelError`` where the weights do not fit.
    """
    loaded = load_weights(network, weights)
    if loaded is not network:  # a folded copy
        _set_identity(network, loaded)
        _calibrate(network, images)
    return network


def load_other_classes(
    network: SegmentationNetwork,
    build: Callable[[int], SegmentationNetwork],
    weights: Path,
    images: Iterable[Tensor],
    had: Sequence[str],
    classes: Sequence[str],
) -> list[str]:
    """Load packaged weights of a network that was trained for other classes; return the classes that begin anew.

    ``had`` are the foreground classes that the file was trained for and ``classes`` those of ``network``, both in the
    order of their channels; ``build`` makes the same network with a number of channels. What depends on no class is
    taken over, and of the rest the channels of the background and of classes of the same name. Raises ``ModelError``
    where the weights do not fit.
    """
    donor = build(len(had) + 1)
    load_for_training(MergeClasses(donor, [[channel] for channel in range(len(had) + 1)]), weights, images)
    wider = build(len(had) + 2).state_dict()  # shows which axes of which tensors are classes
    kept = [0, *(index for index, name in enumerate(classes, 1) if name in had)]
    source = [0, *(list(had).index(classes[index - 1]) + 1 for index in kept[1:])]
    own = network.state_dict()
    for name, tensor in donor.state_dict().items():
        axes = [axis for axis, size in enumerate(tensor.shape) if size != wider[name].shape[axis]]
        if axes:
            own[name].movedim(axes[0], 0)[kept] = tensor.movedim(axes[0], 0)[source]
        else:
            own[name].copy_(tensor)
    return [name for name in classes if name not in had]


@torch.no_grad()
def _set_identity(network: nn.Module, folded: nn.Module) -> None:
    """Copy folded weights; the bias goes to the norms, which else do nothing."""
    biases: dict[str, Tensor] = {}
    for conv_path, norm_path in foldable_pairs(network):
        conv, norm = network.get_submodule(conv_path), network.get_submodule(norm_path)
        source = folded.get_submodule(conv_path)
        if conv.bias is None:
            biases[norm_path] = source.bias
        _reset(norm, source.bias if conv.bias is None else None)
    own = network.state_dict()
    moved = {f"{conv}.bias" for conv, norm in foldable_pairs(network) if norm in biases}
    for name, tensor in folded.state_dict().items():
        if name not in moved:
            own[name].copy_(tensor)


def _reset(norm: Any, bias: Tensor | None) -> None:
    """Make a batch norm the identity plus ``bias``."""
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0 - norm.eps)
    norm.weight.fill_(1.0)
    norm.bias.copy_(bias) if bias is not None else norm.bias.zero_()


@torch.no_grad()
def _calibrate(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Give the norms the statistics of what they see, with weight and bias that keep their output.

    With m, v the mean and variance of a norm's input and h its bias: weight = sqrt(v + eps), bias = h + m.
    """
    sums: dict[str, list[Tensor]] = {}
    handles = []
    for _, path in foldable_pairs(network):
        handles.append(network.get_submodule(path).register_forward_pre_hook(_collector(sums.setdefault(path, []))))
    training = network.training
    network.eval()
    try:
        for image in images:
            network(image)
    finally:
        for handle in handles:
            handle.remove()
        network.train(training)
    for path, seen in sums.items():
        if seen:
            mean, square = torch.stack(seen).mean(0)
            norm: Any = network.get_submodule(path)
            variance = (square - mean**2).clamp(min=1e-12)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.add_(mean)


def _collector(seen: list[Tensor]) -> Any:
    def collect(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().double().transpose(0, 1).flatten(1)
        seen.append(torch.stack([x.mean(1), (x**2).mean(1)]))

    return collect
