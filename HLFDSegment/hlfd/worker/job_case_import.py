"""The job ``case_import``: the cases of a data set in a known layout become cases of a project.

Arguments: ``project`` and ``folder``, ``values`` (value of the label maps as text, to the name of a label or nothing;
left out: the project's own values), ``check`` (only look). Answer: ``added`` (list of ``CaseInfo.to_dict``) and
``refused`` (reason by case); with ``check`` only ``reports`` (list of ``CaseReport.to_dict``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.errors import UsageError
from hlfd.events import Event
from hlfd.project import Project
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Look at the data set or import it; see the top of this file."""
    arguments = context.arguments
    project = Project.open(str(arguments["project"]))
    folder = Path(str(arguments["folder"]))
    values = _values(arguments.get("values"))

    def listen(event: Event) -> None:
        context.on_event(event)
        context.cancel.check()

    if arguments.get("check"):
        return {"reports": [report.to_dict() for report in project.check_import(folder, values, listen)]}
    added, refused = project.import_folder(folder, values, context.on_event, context.cancel)
    return {"added": [info.to_dict() for info in added], "refused": refused}


def _values(named: Mapping[str, str] | None) -> dict[int, str] | None:
    try:
        return None if named is None else {int(value): str(name) for value, name in named.items()}
    except ValueError as error:
        raise UsageError(f"The values {sorted(named or ())} are not whole numbers.") from error
