"""The job ``estimate``: what a fine-tuning will take, from a few of its real steps.

Arguments: ``settings`` (the fields of ``hlfd.runs.RunSettings``) and ``data`` (project or data set, where the settings
name none). Answer: see ``hlfd.training.finetune_estimate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.config import from_mapping
from hlfd.runs.settings import RunSettings
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Try a few steps; see the top of this file."""
    from hlfd.runs.work import finetune_settings, teacher_of
    from hlfd.training.finetune_estimate import estimate

    settings = from_mapping(RunSettings, dict(context.arguments.get("settings", {})))
    data = Path(settings.project or str(context.arguments.get("data", "")))
    folder = context.folder / "trial"
    given = settings.model, data, folder, finetune_settings(settings), teacher_of(settings)
    return estimate(*given, context.on_event, context.cancel)
