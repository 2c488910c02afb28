"""A TorchScript file as a teacher, with taps on its outputs by index and on its submodules by path.

Forward hooks on a submodule of a scripted network are never called, because the network does not run in Python. So the
graph that calls the submodule is told to keep what it returns in an attribute, and the wrapper passes that on through
an identity module that can be hooked.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hlfd.config import look_up
from hlfd.errors import ConfigError, ModelError
from hlfd.networks.base import TAP_NAMES
from hlfd.teachers.settings import TeacherSettings
from hlfd.teachers.teacher import Teacher, first_channels, tensor_dims

_FORWARD = re.compile(r"forward\d*")


def load_torchscript(settings: TeacherSettings) -> Teacher:
    """Load a TorchScript file; its taps become ``tapped.<name>`` of the wrapper."""
    path = Path(settings.source).expanduser()
    scripted = read_script(path)
    dims = tensor_dims(scripted)
    wrapper = ScriptedTeacher(scripted, settings.taps, str(path))
    return Teacher(
        module=wrapper,
        taps=wrapper.taps,
        in_channels=settings.in_channels or len(settings.windows) or first_channels(scripted, dims),
        spatial_dims=dims,
        origin=f"TorchScript {path}",
    )


def read_script(path: Path) -> torch.jit.ScriptModule:
    """Read a TorchScript archive on the CPU; raise ``ModelError`` for anything else."""
    if not path.is_file():
        raise ModelError(f'The teacher "{path}" does not exist.', "Correct its path.")
    try:
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, json.JSONDecodeError) as error:
        raise ModelError(
            f'"{path}" is no TorchScript file.',
            "Write it with torch.jit.trace(network, example).save(FILE); a state dict needs the network too: name a "
            "package.module:builder, and this file under weights.",
        ) from error
    return module.eval()


class ScriptedTeacher(nn.Module):
    """A scripted network whose taps can be hooked at ``tapped.<name>``, and whose forward returns one tensor of logits.

    ``stated`` maps tap names to module paths or, for a network that returns several tensors, to indices of outputs.
    Without a tap ``out`` the logits are the only output, or the first of several. Raises ``ConfigError`` for a path
    that the network has not, or that its forward pass never calls.
    """

    def __init__(self, scripted: torch.jit.ScriptModule, stated: Mapping[str, str | int], origin: str) -> None:
        super().__init__()
        self.scripted = scripted
        self._origin = origin
        self._indices: dict[str, int] = {}
        self._kept: dict[str, tuple[str, str]] = {}
        for name, place in stated.items():
            look_up(str(name), TAP_NAMES, "tap")
            if isinstance(place, int):
                self._indices[name] = place
            elif name != "out":
                self._kept[name] = keep_output(scripted, place)
            else:
                raise ConfigError(
                    f'The tap "out" is "{place}"; the index of an output was expected for a TorchScript file.',
                    "Leave it out where the network returns its logits alone or first.",
                )
        self._out = self._indices.pop("out", 0)
        self.tapped = nn.ModuleDict({name: nn.Identity() for name in (*self._indices, *self._kept)})
        self.logits = nn.Identity()

    @property
    def taps(self) -> dict[str, str]:
        """Module path of each tap."""
        return {**{name: f"tapped.{name}" for name in self.tapped}, "out": "logits"}

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits; every tap passes through its identity."""
        outputs = self.scripted(image)
        outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
        for name, index in self._indices.items():
            self.tapped[name](self._output(outputs, index, name))
        for name, (caller, attribute) in self._kept.items():
            self.tapped[name](self._take(name, caller, attribute))
        logits: Tensor = self.logits(self._output(outputs, self._out, "out"))
        return logits

    def _take(self, name: str, caller: str, attribute: str) -> Tensor:
        """Return what a graph kept, and let go of it there."""
        module = _submodule(self.scripted, caller)
        kept: Tensor = module._c.getattr(attribute)
        if not kept.numel():
            raise ConfigError(
                f'The module at the tap "{name}" of "{self._origin}" did not run in its forward pass.',
                "Tap a module that every forward pass calls.",
            )
        module._c.setattr(attribute, torch.zeros(0))
        return kept

    def _output(self, outputs: tuple[Tensor, ...], index: int, name: str) -> Tensor:
        if not -len(outputs) <= index < len(outputs):
            raise ConfigError(
                f'The tap "{name}" is output {index}, but "{self._origin}" returns {len(outputs)}.',
                f"Indices 0 to {len(outputs) - 1} were expected.",
            )
        return outputs[index]


def keep_output(root: torch.jit.ScriptModule, path: str) -> tuple[str, str]:
    """Make the graph that calls the submodule ``path`` keep its last output; return (path of its caller, attribute).

    Must happen before the first forward pass, when graphs are compiled. Raises ``ConfigError`` for an unknown path or
    one that no method on the way to it calls.
    """
    names = [name for name, _ in root.named_modules() if name]
    look_up(path, names, "module path in the TorchScript file")
    parts = path.split(".")
    for depth in range(len(parts) - 1, -1, -1):
        caller = _submodule(root, ".".join(parts[:depth]))
        for method in caller._c._method_names():
            graph = caller._c._get_method(method).graph
            calls = [node for node in _nodes(graph) if _callee(node, graph) == parts[depth:]]
            if calls:
                return ".".join(parts[:depth]), _keep(root, caller, graph, calls[-1], path)
    raise ConfigError(
        f'No forward pass calls the module "{path}" of the TorchScript file.',
        "Tap the module that holds it, or export the network again so that it returns this tensor, and tap its index.",
    )


def _submodule(root: torch.jit.ScriptModule, path: str) -> Any:
    """Return a submodule by path, which scripted modules do not offer themselves; the empty path is the root."""
    return functools.reduce(getattr, path.split(".") if path else [], root)


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _callee(node: Any, graph: Any) -> list[str] | None:
    """Return the attribute names from the graph's own module to the one whose forward ``node`` calls, else None."""
    # A traced module that is called again runs forward1, forward2 and so on.
    if node.kind() != "prim::CallMethod" or not _FORWARD.fullmatch(node.s("name")):
        return None
    names, value = [], next(node.inputs())
    while value.node().kind() == "prim::GetAttr":
        names.append(value.node().s("name"))
        value = next(value.node().inputs())
    own = next(graph.inputs())
    return names[::-1] if value.debugName() == own.debugName() else None


def _keep(root: torch.jit.ScriptModule, caller: Any, graph: Any, call: Any, path: str) -> str:
    """Insert the assignment after ``call``; modules of one compiled type share the graph, so all get the attribute."""
    attribute = "tapped_" + path.replace(".", "_")
    kind = caller._c._type()
    for module in root.modules():
        other = getattr(module, "_c", None)
        if other is not None and other._type() == kind:
            other._register_attribute(attribute, torch._C.TensorType.get(), torch.zeros(0))
    assignment = graph.create("prim::SetAttr", [next(graph.inputs()), call.output()], 0)
    assignment.s_("name", attribute)
    assignment.insertAfter(call)
    return attribute
