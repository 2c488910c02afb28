"""Reading of weights that others wrote, without running code that a file may hold."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hlfd.checkpoint import load_weights
from hlfd.errors import ModelError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "network_weights")
_PREFIXES = ("module.", "_orig_mod.")
_SAFE_COPY = (
    "Open it where you trust it, and save its weights alone with "
    "torch.save(network.state_dict(), FILE) or as safetensors."
)


def read_pickled(path: Path) -> Any:
    """Read a torch file of tensors, plain values and NumPy numbers; anything else in it raises ``ModelError``."""
    if not path.is_file():
        raise ModelError(f'The weights file "{path}" is missing.', "Copy the whole teacher again.")
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise ModelError(
                f'"{path}" holds more than tensors and numbers ({refused[1]}); reading it could run code in it.',
                _SAFE_COPY,
            ) from error
        raise ModelError(
            f'"{path}" is damaged or no torch file ({type(error).__name__}).', "Copy the teacher again."
        ) from error


def _numpy_numbers() -> list[Any]:
    """Return what NumPy pickles its numbers and arrays with, under the names of NumPy 1 and 2; none of it runs code."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.float16, np.int64, np.int32, np.uint8, bool)}
    named = [
        (function, f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")
        for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
    ]
    return [*named, (codecs.encode, "_codecs.encode"), np.ndarray, np.dtype, *dtypes]


def state_dict_of(data: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in what a file held: itself, or under one of the usual names; prefixes of wrappers go."""
    for name in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
            data = data[name]
            break
    if not isinstance(data, Mapping) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise ModelError(
            f'"{path}" holds no state dict: a mapping of names to tensors was expected.',
            "Save it with torch.save(network.state_dict(), FILE).",
        )
    state = {str(name): value for name, value in data.items()}
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def load_into(module: nn.Module, source: str | Path) -> None:
    """Load a safetensors file or a torch file with a state dict into ``module``, all of it and nothing more."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        load_weights(module, path)
    else:
        load_state(module, state_dict_of(read_pickled(path), path), path)


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load ``state`` strictly; raise ``ModelError`` that names the first missing, surplus or misshaped tensors."""
    own = module.state_dict()
    for names, fault in ((own.keys() - state.keys(), "lacks"), (state.keys() - own.keys(), "has surplus")):
        if names:
            raise ModelError(
                f'"{path}" {fault} {len(names)} tensors of the network, among them {", ".join(sorted(names)[:3])}.',
                "Its weights belong to another architecture; copy both from the same place.",
            )
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f'"{name}" in "{path}" has shape {tuple(tensor.shape)}; {tuple(own[name].shape)} was expected.',
                "Its weights belong to other parameters of the network; copy both from the same place.",
            )
    module.load_state_dict(dict(state))
