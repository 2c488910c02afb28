"""Trainings in a process of their own that outlives its owner: started, followed, paused, found again by their folder.

Nothing here imports torch but ``work`` and ``distil``, which run in that process. A panel polls ``Run`` by its timer::

    run = start_run(project, RunSettings(model="kidney", minutes=10))
    for event in run.poll(): ...
    run.state, run.pause(), run.resume(), run.cancel(), run.result()
"""

from hlfd.runs.commands import command
from hlfd.runs.files import Sample
from hlfd.runs.outcome import export, register
from hlfd.runs.run import Run, State, list_runs, running_anywhere, start_run
from hlfd.runs.settings import DistilSettings, RunSettings

__all__ = [
    "DistilSettings",
    "Run",
    "RunSettings",
    "Sample",
    "State",
    "command",
    "export",
    "list_runs",
    "register",
    "running_anywhere",
    "start_run",
]
