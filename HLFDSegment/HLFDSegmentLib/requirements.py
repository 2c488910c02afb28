"""What the engine needs in Slicer's Python, and whether it is there; found out without importing any of it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Requirement:
    """One package: how pip names it, the module it brings, what it is for, and its version, "" where it is missing."""

    specifier: str
    module: str
    purpose: str
    version: str
    optional: bool = False

    @property
    def name(self) -> str:
        """The name of the package alone."""
        return self.specifier.split(">")[0].split("=")[0].strip()


def requirements(path: Path, gpu: bool) -> list[Requirement]:
    """Return the packages of a requirements file with lines ``package>=version  # module: what it is for``.

    PyTorch is added, as optional without ``gpu`` (a graphics processor that it could use).
    """
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        specifier, _, comment = line.partition("#")
        module, _, purpose = comment.partition(":")
        if specifier.strip():
            found.append(_look_up(specifier.strip(), module.strip(), purpose.strip()))
    found.append(_look_up("torch", "torch", "trains, and computes on a graphics processor (NVIDIA)", optional=not gpu))
    return found


def missing(found: Sequence[Requirement]) -> list[Requirement]:
    """Return what must be installed before the first run."""
    return [requirement for requirement in found if not requirement.version and not requirement.optional]


def _look_up(specifier: str, module: str, purpose: str, optional: bool = False) -> Requirement:
    requirement = Requirement(specifier, module, purpose, "", optional)
    importlib.invalidate_caches()  # installed a moment ago
    if not _found(module):
        return requirement
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        version = "installed"
    return Requirement(specifier, module, purpose, version, optional)


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # half removed
        return False
