"""Weights as safetensors files and training states as torch files, written atomically and read without pickled code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.errors import ModelError
from hlfd.files import write_atomically, write_bytes

NOTES = "hlfd"
FOLDED = "batchnorm_folded"


def _unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state without entries that share storage with an earlier one."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            seen.add(tensor.data_ptr())
            tensors[name] = tensor
    return tensors


def save_weights(module: nn.Module, path: Path, half: bool = False, metadata: dict[str, str] | None = None) -> None:
    """Write the module's parameters and buffers to a safetensors file; ``half`` stores float32 as float16.

    ``metadata`` is kept in the file. Whether batch norm was folded (``fold_batchnorm``) is noted there too.
    """
    from safetensors.torch import save

    folded = any(isinstance(child, nn.Identity) for child in module.modules())
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in _unique_tensors(module).items()
    }
    # One entry, because safetensors writes several in random order, and equal weights shall give equal files.
    notes = json.dumps({**(metadata or {}), FOLDED: str(folded).lower()}, sort_keys=True)
    data = save(tensors, {NOTES: notes})  # not save_file, whose errors do not tell a full disk from others
    write_bytes(path, data)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata that ``save_weights`` put into a safetensors file."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return tensors, json.loads((stream.metadata() or {}).get(NOTES, "{}"))
    except FileNotFoundError as error:
        raise ModelError(f'The weights file "{path}" is missing.', "Import or train the model again.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f'"{path}" is not a readable safetensors file: {error}.', "Import it again.") from error


def load_weights(module: nn.Module, path: Path) -> nn.Module:
    """Load a safetensors file into ``module`` and return it; half precision is read as the module's own precision.

    If the file's batch norm is folded and the module's is not, a folded copy is loaded and returned in eval mode.
    Raises ``ModelError`` that names the first missing, surplus or misshaped tensors.
    """
    from hlfd.networks.fold import fold_batchnorm, foldable_pairs

    tensors, metadata = _read(Path(path))
    if metadata.get(FOLDED) == "true" and foldable_pairs(module):
        module = fold_batchnorm(module)
    own = _unique_tensors(module)
    _check_names(set(own), set(tensors), path)
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ModelError(
                f'"{name}" in "{path}" has shape {tuple(tensors[name].shape)}; {tuple(tensor.shape)} was expected.',
                "Build the network with the parameters it was trained with.",
            )
        tensor.detach().copy_(tensors[name])
    return module


def _check_names(expected: set[str], found: set[str], path: Path) -> None:
    for names, fault in ((expected - found, "lacks"), (found - expected, "has surplus")):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise ModelError(
                f'"{path}" {fault} {len(names)} tensors, among them {some}.',
                "Build the network with the name and parameters it was trained with.",
            )


def save_state(state: dict[str, Any], path: Path, keep_previous: Path | None = None) -> None:
    """Write a training state of tensors and plain values atomically; the old file goes to ``keep_previous``."""
    write_atomically(path, lambda temporary: torch.save(state, temporary), keep_previous)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state (no code is executed); raise ``ModelError`` if the file is missing or damaged."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise ModelError(f'"{path}" is not a readable training state: {error}.', "Remove it to start anew.") from error
    if not isinstance(state, dict):
        raise ModelError(f'"{path}" holds {type(state).__name__}; a training state was expected.')
    return state
