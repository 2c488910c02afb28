"""The job ``batch``: a folder of CTs in; label maps and a table out, as ``hlfd segment IN OUT`` does it.

Arguments: ``settings`` (the fields of ``SegmentSettings``), ``source`` and ``target`` (folders). Answer: ``cases`` (one
entry per case as in results.json), ``failed`` (names), ``csv`` and ``json`` (paths of the tables).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlfd.cli.batch import run_batch
from hlfd.cli.cases import Job, plan
from hlfd.cli.console import Console
from hlfd.cli.plain import plain
from hlfd.cli.single import CaseRunner
from hlfd.config import SegmentSettings, from_mapping
from hlfd.errors import UsageError
from hlfd.events import Event, OnEvent, Progress, Stage, Warn
from hlfd.worker.context import JobContext


def run(context: JobContext) -> Mapping[str, Any]:
    """Segment all cases of the folder; see the top of this file."""
    source, target = (str(context.arguments.get(name, "")).strip() for name in ("source", "target"))
    if not source or not target:
        raise UsageError("A folder of CTs and a folder for the results are needed.", "Choose both.")
    settings = from_mapping(SegmentSettings, dict(context.arguments.get("settings", {})))
    job = plan(Path(source), Path(target))
    if job.folder is None:  # one case, which gets its table too
        job = Job(job.cases, Path(target))
    console = EventConsole(context.on_event, len(job.cases))
    run_batch(job, CaseRunner(settings, None, None, console, context.cancel), console)
    return console.answer


class EventConsole(Console):
    """What the command line would show, as events: the share of all cases that is done, and which one is worked on."""

    def __init__(self, on_event: OnEvent, cases: int) -> None:
        super().__init__(io.StringIO(), io.StringIO(), as_json=True)
        self.answer: dict[str, Any] = {}
        self._on_event = on_event
        self._cases = cases
        self._begun = 0

    def case(self, label: str) -> None:
        """Tell which case begins."""
        if label:
            self._begun += 1
            self._on_event(Stage(label))

    def note(self, text: str) -> None:
        """Tell what went wrong with a case."""
        self._on_event(Warn(text))

    def on_event(self, event: Event) -> None:
        """Tell how much of all cases is done."""
        if isinstance(event, Progress) and event.total:
            self._on_event(Progress(max(0, self._begun - 1) + event.done / event.total, float(self._cases)))
        elif isinstance(event, Warn):
            self._on_event(event)

    def result(self, value: dict[str, Any]) -> None:
        """Keep the object that ``--json`` would print."""
        self.answer = plain(value)
