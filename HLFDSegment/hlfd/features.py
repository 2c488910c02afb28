"""Feature maps of any module, read through forward hooks by module path; for losses and for the feature viewer."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import ConfigError


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside ``DistributedDataParallel``, ``DataParallel`` or ``torch.compile``'s wrapper."""
    while True:
        if isinstance(module, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


class FeatureTap:
    """Reads the outputs of submodules while a network runs.

    ``paths`` maps a name to a module path as in ``named_modules`` ("encoder.0"); the empty path is the network itself.
    A module that returns several tensors is read as "path:2" (third of a tuple) or "path:key" (entry of a mapping).
    Wrappers for data-parallel training are looked through. Use::

        with FeatureTap(network, {"e1": "encoder.0"}) as features:
            network(image)
        features["e1"]  # (B, C, *spatial)

    ``features`` holds the output of the last call of each module, with its gradient; what later in-place operations
    write into it is seen. Outputs recomputed in a backward pass (``torch.utils.checkpoint``) are not taken again. The
    hooks are removed on leaving, also on errors; the tap can be entered again. A path that does not exist raises
    ``ConfigError`` when the tap is made; an output that is no tensor raises it when the module runs.
    """

    def __init__(self, module: nn.Module, paths: Mapping[str, str]) -> None:
        root = unwrap(module)
        self.features: dict[str, Tensor] = {}
        self._sources = {name: (_submodule(root, name, path), path) for name, path in paths.items()}
        self._handles: list[Any] = []

    def __enter__(self) -> dict[str, Tensor]:
        self.features.clear()
        try:
            for name, (module, path) in self._sources.items():
                self._handles.append(module.register_forward_hook(self._hook(name, path)))
        except BaseException:  # no hook stays when another cannot be placed
            self._remove()
            raise
        return self.features

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, name: str, path: str) -> Any:
        def store(module: nn.Module, inputs: Any, output: Any) -> None:
            if torch._C._current_graph_task_id() == -1:  # else a backward pass computes a checkpointed part again
                self.features[name] = _pick(output, name, path)

        return store


def _submodule(root: nn.Module, name: str, path: str) -> nn.Module:
    where = path.partition(":")[0]
    try:
        return root.get_submodule(where)
    except AttributeError:
        known = [known for known, _ in root.named_modules() if known]
        near = difflib.get_close_matches(where, known, n=3, cutoff=0.4) or known[:5]
        raise ConfigError(
            f'Tap "{name}": {type(root).__name__} has no module "{where}".',
            f"Name one of its modules, such as {', '.join(near)}." if near else "It has no submodules.",
        ) from None


def _pick(output: Any, name: str, path: str) -> Tensor:
    """Return the tensor that ``path`` names in what a module returned."""
    where, _, key = path.partition(":")
    found = output
    if key:
        try:
            found = output[int(key) if isinstance(output, (tuple, list)) else key]
        except (LookupError, ValueError, TypeError):
            raise ConfigError(
                f'Tap "{name}": the output of "{where}" ({_describe(output)}) has no entry "{key}".'
            ) from None
    if isinstance(found, Tensor):
        return found
    raise ConfigError(
        f'Tap "{name}": the module "{where}" returns {_describe(found)}; a tensor was expected.',
        f'Name one of its outputs, as in "{where}:0".',
    )


def _describe(output: Any) -> str:
    if isinstance(output, (tuple, list)):
        return f"a {type(output).__name__} of {len(output)}"
    if isinstance(output, Mapping):
        return f"a mapping with {', '.join(map(str, output))}"
    return type(output).__name__
