"""Finds the module of a job kind: ``job_KIND.py`` in ``hlfd.worker`` or in a package named at the start."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hlfd.config import look_up
from hlfd.errors import UsageError
from hlfd.worker.context import JobContext

RunJob = Callable[[JobContext], Mapping[str, Any]]
HOME = "hlfd.worker"
_PREFIX = "job_"
_KIND = re.compile(r"[a-z][a-z0-9_]*")


def kinds(packages: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the job kinds that can be asked for, those of ``hlfd.worker`` first."""
    found = [name for package in (HOME, *packages) for name in _modules(package)]
    return tuple(dict.fromkeys(name[len(_PREFIX) :] for name in found if name.startswith(_PREFIX)))


def find_job(kind: str, packages: Sequence[str] = ()) -> RunJob:
    """Import the module of a job kind and return its ``run``; raise ``ConfigError`` for an unknown kind."""
    for package in (HOME, *packages):
        if _KIND.fullmatch(kind) and f"{_PREFIX}{kind}" in _modules(package):
            run: RunJob = importlib.import_module(f"{package}.{_PREFIX}{kind}").run
            return run
    look_up(kind, kinds(packages), "job")
    raise UsageError(f'The job "{kind}" has a name that cannot be looked up.')


def _modules(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    return [module.name for module in pkgutil.iter_modules(places)] if places else []
