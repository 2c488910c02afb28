"""Builds a network from the configuration of a MONAI bundle without running code that the bundle brings.

MONAI's own parser imports any ``_target_`` and evaluates ``$`` expressions. Here only networks of ``monai.networks``
and ``torch.nn`` (and of ``hlfd.networks``) are built, from literal values and references.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

from torch import nn

from hlfd.errors import ConfigError, MissingDependencyError, ModelError

ALLOWED = ("monai.networks.", "torch.nn.", "hlfd.networks.")
_SHORT_NAMES = ("monai.networks.nets", "monai.networks.blocks", "monai.networks.layers", "torch.nn")
_IGNORED = ("_target_", "_requires_", "_disabled_", "_desc_", "_mode_")
_REMEDY = (
    "Copy the bundle and write the value out in its configuration, or name its models/model.ts, if it has one, or a "
    "package.module:builder instead."
)


def read_config(folder: Path, stem: str) -> dict[str, Any]:
    """Read ``configs/<stem>`` of a bundle, JSON or YAML, as plain values."""
    import yaml

    for suffix in (".json", ".yaml", ".yml"):
        path = folder / "configs" / f"{stem}{suffix}"
        if path.is_file():
            try:  # JSON is YAML too, up to tabs, which JSON files of bundles may hold
                data = yaml.safe_load(path.read_text(encoding="utf-8").replace("\t", "    "))
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise ModelError(f'"{path}" is not readable: {error}.', "Download the bundle again.") from error
            if not isinstance(data, dict):
                raise ModelError(f'"{path}" holds {type(data).__name__}; a mapping was expected.')
            return data
    raise ModelError(
        f'The bundle "{folder}" has no configs/{stem}.json or .yaml.', "Name the folder that holds configs and models."
    )


def resolve(value: Any, config: dict[str, Any], where: str, seen: tuple[str, ...] = ()) -> Any:
    """Return ``value`` with its references (``@name``) filled in; ``$`` is followed by a literal or a reference only.

    Raises ``ModelError`` for expressions that would have to be evaluated, macros (``%``), circles and dangling names.
    """
    if isinstance(value, dict):
        return {key: resolve(item, config, f"{where}#{key}", seen) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, config, f"{where}#{n}", seen) for n, item in enumerate(value)]
    if not isinstance(value, str) or value[:1] not in ("@", "$", "%"):
        return value
    if value.startswith("$"):
        return _literal(value, config, where, seen)
    if value.startswith("%"):
        raise ModelError(f'"{where}" of the bundle is the macro "{value}", which is not read here.', _REMEDY)
    name = value[1:].replace("::", "#")
    if name in seen:
        raise ModelError(f'"{where}" of the bundle refers to itself through "{value}".', "Download the bundle again.")
    return resolve(_at(config, name, where), config, name, (*seen, name))


def _literal(value: str, config: dict[str, Any], where: str, seen: tuple[str, ...]) -> Any:
    text = value[1:].strip()
    if text.startswith("@") and text[1:].replace("::", "#").replace("#", "").isidentifier():
        return resolve(text, config, where, seen)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ModelError(
            f'"{where}" of the bundle is the expression "{value}"; evaluating it would run code of the bundle.', _REMEDY
        ) from error


def _at(config: dict[str, Any], name: str, where: str) -> Any:
    found: Any = config
    for part in name.split("#"):
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise ModelError(f'"{where}" of the bundle refers to "{name}", which is not there.', _REMEDY)
    return found


def build(definition: Any, where: str = "network_def") -> Any:
    """Build a resolved definition: mappings with ``_target_`` become networks, inner ones first."""
    if isinstance(definition, list):
        return [build(item, f"{where}#{n}") for n, item in enumerate(definition)]
    if not isinstance(definition, dict):
        return definition
    if "_target_" not in definition:
        return {key: build(item, f"{where}#{key}") for key, item in definition.items()}
    target = find_target(definition["_target_"], where)
    arguments = {key: build(item, f"{where}#{key}") for key, item in definition.items() if key not in _IGNORED}
    try:
        return target(**arguments)
    except ImportError as error:
        needed = str(error).splitlines()[0]
        raise MissingDependencyError(
            f'"{where}" of the bundle needs a package that is not installed: {needed}', "Install what it names."
        ) from error
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f'"{where}" of the bundle cannot be built: {definition["_target_"]} says: {error}.',
            "The bundle may have been made for another version of MONAI; its metadata says which.",
        ) from error


def find_target(name: Any, where: str) -> type[nn.Module]:
    """Return the network class that ``_target_`` names; any other object raises ``ModelError``."""
    found = _locate(str(name))
    defined = f"{getattr(found, '__module__', '')}."
    if inspect.isclass(found) and issubclass(found, nn.Module) and defined.startswith(ALLOWED):
        return found
    raise ModelError(
        f'"{where}" of the bundle has the _target_ "{name}"; only networks of monai.networks and torch.nn are built, '
        "because anything else may run code of the bundle.",
        "Look at what it is; if you trust it, name it as a teacher of the kind package.module:builder.",
    )


def _locate(name: str) -> Any:
    """Return the object of an allowed module; None for all other names, which are not even imported."""
    try:
        if "." not in name:
            return next(
                (
                    getattr(module, name)
                    for module in map(importlib.import_module, _SHORT_NAMES)
                    if hasattr(module, name)
                ),
                None,
            )
        if not name.startswith(ALLOWED):
            return None
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name == "monai":
            raise MissingDependencyError(
                "A teacher from a MONAI bundle needs MONAI, which is not installed.",
                'Install it with: pip install "hlfd[train]".',
            ) from error
        return None


def network_definition(config: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved definition of the network in an inference or training configuration of a bundle."""
    for key in ("network_def", "network"):
        definition = config.get(key)
        if isinstance(definition, dict) and "_target_" in definition:
            resolved: dict[str, Any] = resolve(definition, config, key)
            return resolved
    raise ConfigError(
        "The bundle's configuration defines no network_def with a _target_.",
        "Name its TorchScript file (models/*.ts) as the teacher, or a package.module:builder.",
    )
