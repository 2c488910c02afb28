"""The job ``suggest``: the CTs of a folder, the one to label first in front.

Arguments: ``project`` (folder), ``folder`` (of CTs), ``settings`` (the fields of ``SegmentSettings``; its model is the
student), ``teacher`` (as ``hlfd.teachers`` takes it; empty: none). Answer: ``rows`` (list of ``Suggestion.to_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.cli.cases import find_cases
from hlfd.config import SegmentSettings, from_mapping
from hlfd.errors import MissingInputError
from hlfd.events import Stage
from hlfd.project import Project
from hlfd.project.suggest import load_peer, suggest
from hlfd.worker.context import JobContext
from hlfd.worker.job_segment import load_segmenter


def run(context: JobContext) -> Mapping[str, Any]:
    """Order the CTs; see the top of this file."""
    arguments = context.arguments
    project = Project.open(str(arguments["project"]))
    cts = _in_folder(Path(str(arguments["folder"])))
    segmenter = load_segmenter(context, from_mapping(SegmentSettings, dict(arguments.get("settings", {}))))
    teacher = arguments.get("teacher")
    if teacher:
        context.on_event(Stage("load teacher"))
    peer = load_peer(teacher, segmenter) if teacher else None
    rows = suggest(project, cts, segmenter, peer, context.on_event, context.cancel)
    return {"rows": [row.to_dict() for row in rows]}


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise MissingInputError(f'The folder "{folder}" does not exist.', "Choose a folder of CTs.")
    return find_cases(folder)
