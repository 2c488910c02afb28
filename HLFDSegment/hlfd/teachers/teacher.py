"""A loaded teacher: a frozen network and what is known of its input and output."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from hlfd.config import look_up
from hlfd.errors import ConfigError
from hlfd.networks.base import TAP_NAMES
from hlfd.teachers.axes import STUDENT, check_orientation
from hlfd.teachers.inputs import ChannelInput
from hlfd.teachers.settings import TeacherSettings


@dataclass(frozen=True)
class Teacher:
    """A network from outside, in eval mode and without gradients; ``for_student`` makes it fit a student."""

    module: nn.Module
    """Maps (B, in_channels, *spatial) to logits (B, classes, *spatial)."""
    taps: dict[str, str]
    """Tap name (e1..e5, d5..d2, out) to the module path whose output it is."""
    in_channels: int
    """Channels of its input."""
    spatial_dims: int
    """2 or 3."""
    classes: tuple[str, ...] = ()
    """Names of its output channels, ``background`` first; empty where not known."""
    spacing_mm: tuple[float, ...] = ()
    """Working spacing in mm along its own axes; empty where not known."""
    orientation: str = ""
    """The sides of the patient that its array axes run to, see ``hlfd.teachers.axes``; empty is the student's own."""
    inputs: tuple[ChannelInput, ...] = ()
    """How each input channel is made of HU; empty where not known."""
    divisor: int = 1
    """Every spatial size of its input must be a multiple of it."""
    licence: str = ""
    """Licence as its files state it; empty where not known."""
    origin: str = ""
    """Kind and place, for messages and provenance."""
    resample: bool = False
    """Whether ``for_student`` may resample to another spacing."""
    merge: Mapping[str, Sequence[str]] | None = None
    """Class of the student to the teacher's classes that make it up."""


def freeze(module: nn.Module) -> nn.Module:
    """Return the module in eval mode, float32, on the CPU, with no parameter that wants a gradient."""
    return module.eval().float().cpu().requires_grad_(False)


def with_stated(teacher: Teacher, settings: TeacherSettings) -> Teacher:
    """Return the teacher with what is stated in place of what its files say; raise ``ConfigError`` if it cannot be."""
    classes = tuple(str(name) for name in settings.classes) or teacher.classes
    inputs = (
        tuple(ChannelInput.of_window(window, settings.window_range) for window in settings.windows) or teacher.inputs
    )
    spacing = tuple(float(value) for value in settings.spacing_mm) or teacher.spacing_mm
    dims = teacher.spatial_dims
    if len(spacing) == 1:
        spacing *= dims
    if spacing and len(spacing) != dims:
        raise ConfigError(f"spacing_mm of the teacher has {len(spacing)} numbers; one, or {dims} were expected.")
    channels = settings.in_channels or teacher.in_channels
    if inputs and len(inputs) != channels:
        raise ConfigError(
            f"The teacher takes {channels} input channels, but {len(inputs)} windows are known.",
            "State one HU window per input channel under windows.",
        )
    return replace(
        teacher,
        classes=classes,
        inputs=inputs,
        spacing_mm=spacing,
        orientation=check_orientation(settings.orientation or teacher.orientation or STUDENT[-dims:], dims),
        in_channels=channels,
        licence=settings.licence or teacher.licence,
        resample=settings.resample,
        merge=dict(settings.merge) or None,
    )


def choose_taps(module: nn.Module, known: Mapping[str, str], stated: Mapping[str, str | int]) -> dict[str, str]:
    """Return the taps by module path: those stated, else those known from the architecture.

    Raises ``ConfigError`` for tap names outside e1..e5, d5..d2, out and for paths that the module does not have.
    """
    paths = {name for name, _ in module.named_modules()}
    chosen: dict[str, str] = {}
    for name, path in (stated or known).items():
        look_up(str(name), TAP_NAMES, "tap")
        if not isinstance(path, str):
            raise ConfigError(
                f'The tap "{name}" is {path!r}; a module path was expected.',
                "Output indices are for TorchScript files that return several tensors.",
            )
        if path.partition(":")[0] not in paths:
            raise _unknown_path(module, name, path, sorted(paths - {""}))
        chosen[name] = path
    return chosen


def _unknown_path(module: nn.Module, name: str, path: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.4) or known[:5]
    return ConfigError(
        f'Tap "{name}": the teacher ({type(module).__name__}) has no module "{path}".',
        f"Name one of its {len(known)} modules, such as {', '.join(near)}.",
    )


def tensor_dims(module: nn.Module) -> int:
    """Return 2 or 3, the spatial dimensions that the module's convolutions work in."""
    dims = {parameter.ndim - 2 for parameter in module.parameters() if parameter.ndim in (4, 5)}
    if len(dims) != 1:
        raise ConfigError(
            "The teacher's spatial dimensions cannot be told from its weights: "
            f"{'it has no convolutions' if not dims else 'it has 2-D and 3-D ones'}.",
            "Use a teacher whose convolutions are all 2-D or all 3-D.",
        )
    return dims.pop()


def first_channels(module: nn.Module, dims: int) -> int:
    """Return the input channels of the module's first convolution."""
    weights = [parameter for parameter in module.parameters() if parameter.ndim == dims + 2]
    return int(weights[0].shape[1])
