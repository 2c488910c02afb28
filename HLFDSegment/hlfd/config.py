"""Settings as frozen dataclasses, checked when made, read from and written to YAML."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from hlfd.errors import ConfigError

T = TypeVar("T")

MODES = ("auto", "roi", "box")
BACKENDS = ("auto", "openvino", "torch")


def look_up(name: str, choices: tuple[str, ...] | list[str], what: str) -> str:
    """Return ``name`` if it is one of ``choices``, else raise ``ConfigError`` with the nearest choice."""
    if name in choices:
        return name
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    hint = f'Did you mean "{near[0]}"?' if near else ""
    raise ConfigError(f'Unknown {what} "{name}"; known are {", ".join(choices)}.', hint)


def from_mapping(cls: type[T], values: dict[str, Any], where: str = "settings") -> T:
    """Build the settings dataclass ``cls`` from a mapping; unknown keys raise ``ConfigError`` with the nearest key.

    Lists, also nested ones, become tuples, the type of frozen settings; what mappings hold stays as it is.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} holds {type(values).__name__}; a mapping of names to values was expected.")
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        look_up(str(key), known, f"key in {where}")
    try:
        return cls(**{key: _tuples(value) for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{where}: {error}.", f"Known keys are {', '.join(known)}.") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(member) for member in value) if isinstance(value, list) else value


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file into a mapping; a missing or malformed file raises ``ConfigError``."""
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f'Cannot read the settings file "{path}": {error.strerror}.') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'"{path}" is not valid YAML: {error}.') from error
    if not isinstance(data, dict):
        raise ConfigError(f'"{path}" holds {type(data).__name__}; a mapping of names to values was expected.')
    return data


def read_based_yaml(
    path: Path,
    join: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = operator.or_,
    above: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """Read a YAML file whose key ``base`` may name a file beside it, which may have a base too.

    ``join`` puts the file's mapping over its base's; by default it replaces keys at the top. ``above`` are the files
    whose base it is. Raises ``ConfigError`` for a circle.
    """
    data = read_yaml(path)
    base = data.pop("base", None)
    if base is None:
        return data
    below = Path(path).parent / str(base)
    if below in (*above, path):
        raise ConfigError(f'"{path}" has the base "{base}", which is based on it.', "Name another base.")
    return join(read_based_yaml(below, join, (*above, path)), data)


def write_yaml(settings: Any, path: Path) -> None:
    """Write a settings dataclass as YAML, tuples as lists."""
    import yaml

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    Path(path).write_text(yaml.safe_dump(plain(asdict(settings)), sort_keys=False), encoding="utf-8")


@dataclass(frozen=True)
class SegmentSettings:
    """How to segment one volume."""

    model: str = "kidney"
    """Name of an installed package, ``name/version``, or the path of a package folder."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    backend: str = "auto"
    """``openvino`` (CPU), ``torch``, or ``auto``: torch on CUDA if there is one, else openvino, else torch on CPU."""
    mode: str = "auto"
    """``roi``: locate, then refine regions; ``box``: refine the whole body; ``auto``: roi, or box if none is found."""
    memory_mb: int = 1200
    """Cap in MiB on the memory of one network pass and of one slab of label export; larger regions are tiled."""
    threads: int = 0
    """CPU threads; 0 uses all that the process may run on."""
    min_tumor_ml: float = 0.05
    """Tumour and cyst components below this volume in ml are given back to their surroundings."""
    min_confidence: float | None = None
    """So are those that are true with less than this probability, where the package is calibrated; 0 keeps all, None
    takes the package's own limit."""

    def __post_init__(self) -> None:
        look_up(self.mode, MODES, "mode")
        look_up(self.backend, BACKENDS, "backend")
        if self.device not in ("auto", "cpu", "cuda") and not self.device.removeprefix("cuda:").isdigit():
            raise ConfigError(f'Unknown device "{self.device}"; auto, cpu, cuda or cuda:N was expected.')
        if self.backend == "openvino" and self.device.startswith("cuda"):
            raise ConfigError("OpenVINO runs on the CPU here.", "Choose --device cpu, or the torch backend for CUDA.")
        if self.memory_mb < 64:
            raise ConfigError(f"memory_mb is {self.memory_mb}; at least 64 was expected.")
        if self.threads < 0 or self.min_tumor_ml < 0:
            raise ConfigError("threads and min_tumor_ml must not be negative.")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min_confidence is {self.min_confidence}; a value from 0 to 1 was expected.")
