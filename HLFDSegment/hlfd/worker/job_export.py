"""The job ``export``: a model package for other programs, see ``hlfd.models.export``.

Arguments: ``package`` (name or folder), ``target`` (``bundle``, ``onnx``, ``openvino``), ``out``, ``overwrite``.
Answer: ``{"out": path}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.models.export import export_package
from hlfd.models.registry import find
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Export a package; see the top of this file."""
    given = context.arguments
    package, out = find(str(given["package"])), Path(str(given["out"]))
    overwrite = bool(given.get("overwrite"))
    return {"out": str(export_package(package, str(given["target"]), out, overwrite, context.on_event))}
