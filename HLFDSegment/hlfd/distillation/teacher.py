"""The teacher during training: a frozen network that runs beside the student, or outputs that come with the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError, HlfdError
from hlfd.features import FeatureTap
from hlfd.networks.base import SegmentationNetwork

CACHED = "teacher/"
"""Prefix of the batch keys that hold a teacher's cached outputs."""


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher whose outputs come with the batch, as tensors (B, C, *spatial) under ``teacher/<tap>``."""

    channels: Mapping[str, int]
    """Channels of each tap that the batches hold; ``out``, the logits, has one per class."""


@dataclass
class OnlineTeacher:
    """A network that computes its taps for every batch: in eval mode, without gradient, on the image's device.

    It is no ``nn.Module`` on purpose, so that an objective that holds it does not optimise or save it.
    """

    module: nn.Module
    paths: Mapping[str, str]
    """Module path of each tap, as ``FeatureTap`` takes it."""
    _placed: tuple[torch.device, torch.memory_format] | None = field(default=None, repr=False)

    def outputs(self, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the taps ``names`` for an image (B, C, *spatial)."""
        self._place(image)
        self.module.eval()
        with torch.no_grad(), FeatureTap(self.module, {name: self.paths[name] for name in names}) as features:
            self.module(image)
        return require(features, names, "teacher")

    def _place(self, image: Tensor) -> None:
        """Move the network to where and how the image lies in memory, once."""
        layout = torch.contiguous_format
        for candidate in (torch.channels_last, torch.channels_last_3d):
            if image.ndim == (4 if candidate is torch.channels_last else 5) and image.is_contiguous(
                memory_format=candidate
            ):
                layout = candidate
        if self._placed != (image.device, layout):
            self.module.to(image.device, memory_format=layout)  # type: ignore[call-overload]
            self._placed = (image.device, layout)


def require(features: Mapping[str, Tensor], names: Sequence[str], who: str) -> dict[str, Tensor]:
    """Return the features in the order of ``names``; a tap whose module did not run raises ``ConfigError``."""
    for name in names:
        if name not in features:
            raise ConfigError(
                f'The module of the {who}\'s tap "{name}" did not run in its forward pass.',
                "Name a module that the network calls; inside TorchScript only outputs of the network can be named.",
            )
    return {name: features[name] for name in names}


def tap_paths(module: nn.Module, who: str) -> dict[str, str]:
    """Return the taps that a network declares; ``out`` of the project's own networks is what they return."""
    taps = getattr(module, "taps", None)
    if not isinstance(taps, Mapping):
        raise ConfigError(
            f"The {who} ({type(module).__name__}) declares no taps.",
            "Give it an attribute taps: name -> module path (e1..e5, d5..d2, out).",
        )
    own = isinstance(module, SegmentationNetwork)
    return {name: "" if own and name == "out" else str(path) for name, path in taps.items()}


def probe_channels(module: nn.Module, paths: Mapping[str, str], image: Tensor, who: str) -> dict[str, int]:
    """Return the channels of every tap by running the network once on ``image`` in eval mode.

    Raises ``ConfigError`` when the network cannot take the image or a path is wrong.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad(), FeatureTap(module, paths) as features:
            weight = next(module.parameters(), image)
            module(image.to(weight.device))
    except ConfigError:
        raise
    except (HlfdError, RuntimeError, ValueError, TypeError, IndexError) as error:  # whatever a foreign network says
        raise ConfigError(
            f"The {who} cannot take an image of shape {tuple(image.shape)}: {error}.",
            "It must take the student's patches: the same channels (HU windows) and number of axes.",
        ) from error
    finally:
        module.train(training)
    return {name: int(tensor.shape[1]) for name, tensor in require(features, list(paths), who).items()}
