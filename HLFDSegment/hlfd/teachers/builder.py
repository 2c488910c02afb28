"""A teacher made by a function or class that is installed here: ``package.module:builder``."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from hlfd.errors import ConfigError, MissingDependencyError
from hlfd.networks.base import SegmentationNetwork
from hlfd.teachers.settings import TeacherSettings
from hlfd.teachers.teacher import Teacher, choose_taps, first_channels, tensor_dims
from hlfd.teachers.weights import load_into


def load_builder(settings: TeacherSettings) -> Teacher:
    """Call the builder with ``settings.parameters``, load ``settings.weights`` into what it returns."""
    builder = find_builder(settings.source)
    try:
        module = builder(**settings.parameters)
    except TypeError as error:
        raise ConfigError(f'"{settings.source}" cannot take its parameters: {error}.', "Correct parameters.") from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f'"{settings.source}" returned {type(module).__name__}; a torch.nn.Module was expected.',
            "Name another builder.",
        )
    if settings.weights:
        load_into(module, settings.weights)
    known = module.description if isinstance(module, SegmentationNetwork) else None
    dims = known.spatial_dims if known else tensor_dims(module)
    return Teacher(
        module=module,
        taps=choose_taps(module, known.taps if known else {}, settings.taps),
        in_channels=known.in_channels if known else settings.in_channels or first_channels(module, dims),
        spatial_dims=dims,
        divisor=known.divisor if known else 1,
        origin=f"builder {settings.source}",
    )


def find_builder(source: str) -> Any:
    """Return what ``package.module:name`` names; raise ``ConfigError`` if there is none that can be called."""
    module_name, colon, attribute = source.partition(":")
    if not colon:
        raise ConfigError(f'"{source}" is no builder.', "Write it as package.module:builder.")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise MissingDependencyError(
            f'The builder "{source}" cannot be imported: {error}.', f"Install the package that holds {module_name}."
        ) from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigError(f'"{module_name}" has no "{attribute}".', "Correct the name after the colon.")
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f'"{source}" is a {type(found).__name__} and cannot be called.', "Name a function or class.")
    return found
