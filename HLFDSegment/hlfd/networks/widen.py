"""Begin a wide network where a trained narrow one stands, so that training does not start over.

Source: Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016, arXiv 1511.05641.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from hlfd.errors import ConfigError
from hlfd.networks.s2d_unet import S2dUnet

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def widen(narrow: nn.Module, wide: nn.Module, noise: float = 0.05, seed: int = 0) -> None:
    """Give ``wide`` the function of ``narrow``: channel c is a copy of channel c modulo the narrow width.

    The weights that read a channel are shared among its copies. The weights that make a copy get normal ``noise``, in
    parts of the layer's standard deviation, since equal copies would learn the same for ever; with 0 the functions are
    equal. Both are space-to-depth U-Nets that differ in their widths alone; raises ``ConfigError`` otherwise.
    """
    pairs = _layer_pairs(narrow, wide)
    generator = torch.Generator().manual_seed(seed)
    for source, target in pairs:
        if isinstance(target, _NORMS):
            _copy_norm(source, target)
        else:
            _copy_convolution(source, target, noise, generator)


def _layer_pairs(narrow: nn.Module, wide: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """Return the layers with weights of both, in order."""
    layers = [[m for m in n.modules() if isinstance(m, (_ConvNd, *_NORMS))] for n in (narrow, wide)]
    # Copies are only found again by their number where skips are added: joined ones would mix the order.
    fit = isinstance(narrow, S2dUnet) and isinstance(wide, S2dUnet)
    fit = fit and [type(m) for m in layers[0]] == [type(m) for m in layers[1]]
    pairs = list(zip(*layers))
    for source, target in pairs if fit else []:
        small, large = source.weight.shape, target.weight.shape
        fit = fit and small[2:] == large[2:] and all(a <= b for a, b in zip(small, large))
    if not fit:
        raise ConfigError(
            "The network cannot begin with these weights; a space-to-depth U-Net with wider layers was expected.",
            "Make initial_parameters those of the weights, and the network's the same but for larger widths.",
        )
    return pairs


def _copies(small: int, large: int) -> Tensor:
    return torch.arange(large) % small


def _copy_norm(source: nn.Module, target: nn.Module) -> None:
    state, own = source.state_dict(), target.state_dict()
    for name, tensor in state.items():
        own[name].copy_(tensor[_copies(len(tensor), len(own[name]))] if tensor.ndim else tensor)


def _copy_convolution(source: nn.Module, target: nn.Module, noise: float, generator: torch.Generator) -> None:
    reads, makes = (0, 1) if isinstance(target, _ConvTransposeNd) else (1, 0)
    weight: Tensor = source.weight  # type: ignore[assignment]
    wanted: Tensor = target.weight  # type: ignore[assignment]
    inputs = _copies(weight.shape[reads], wanted.shape[reads])
    made = weight.shape[makes]
    shared = weight.index_select(reads, inputs).movedim(reads, -1) / torch.bincount(inputs)[inputs]
    spread = shared.movedim(-1, reads).index_select(makes, _copies(made, wanted.shape[makes]))
    added = torch.randn(spread.shape, generator=generator) * (noise * float(spread.std()))
    added.narrow(makes, 0, made).zero_()
    wanted.copy_(spread + added)
    if target.bias is not None:
        bias: Tensor = source.bias  # type: ignore[assignment]
        target.bias.copy_(bias[_copies(made, len(target.bias))])  # type: ignore[arg-type, operator]
