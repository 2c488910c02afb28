"""A training in its own process, followed from a scene: start, poll, pause, find again after Slicer was closed.

::

    logic = TrainLogic(scene, jobs)                 # hlfd.jobs.Jobs, only for estimates; may be None
    logic.state_changed.connect(...)                # hlfd.runs.State
    logic.stage.connect(...)                        # name: prepare, train, ..., see choices.StageWords
    logic.progress.connect(...)                     # done, total, seconds_left or None
    logic.metric.connect(...)                       # step, {"loss/dice_ce": ..} or {"dice": .., "dice/tumor": ..}
    logic.sampled.connect(...)                      # hlfd.runs.Sample; logic.samples.picture(sample) draws it
    logic.warned.connect(...)                       # sentence, such as that a smaller patch was taken
    logic.finished.connect(...)                     # the result, see hlfd.runs.outcome
    logic.failed.connect(...)                       # HlfdError: code, message, remedy
    logic.estimated.connect(...)                    # steps, seconds_per_step, minutes, memory_mb, device, patch, ...
    found = logic.find(project_folder)              # a run that goes on, or that can be resumed; else None
    logic.attach(found)                             # its events so far are told again, the curves are drawn
    logic.start(project_folder, RunSettings(minutes=10))
    timer -> logic.poll()                           # some milliseconds; returns the state, None without a run
    logic.pause(), logic.resume(), logic.cancel()
    logic.live.enter(), logic.live.leave()          # curves and example slice in the views, and the user's layout again
    logic.close()                                   # on exit: the run goes on, or pauses where its settings say so
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import slicer

from hlfd.errors import HlfdError, UsageError
from hlfd.events import Metric, Progress, Stage, Warn
from hlfd.jobs import Job, Jobs
from hlfd.jobs.job import State as JobState
from hlfd.runs import Run, RunSettings, Sample, State, list_runs, running_anywhere, start_run
from hlfd.runs.files import RunEvent
from hlfd.runs.settings import AnySettings
from HLFDSegmentLib.signals import Signal
from HLFDTrainLib.choices import begins_network
from HLFDTrainLib.curve_nodes import CurveNodes
from HLFDTrainLib.live_view import LiveView
from HLFDTrainLib.sample_view import SampleView


class TrainLogic:
    """Follows one run at a time; all signals come in the owner's thread from ``poll()``.

    A run that ends is told by exactly one of ``finished(result)``, ``failed(error)`` (also where it was interrupted),
    or ``state_changed`` to paused or cancelled alone.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, jobs: Jobs | None = None) -> None:
        self.state_changed = Signal("state")
        self.stage = Signal("name")
        self.progress = Signal("done", "total", "seconds_left")
        self.metric = Signal("step", "values")
        self.sampled = Signal("sample")
        self.warned = Signal("message")
        self.finished = Signal("result")
        self.failed = Signal("error")
        self.estimated = Signal("estimate")
        self.run: Run | None = None
        self.jobs = jobs
        self.curves = CurveNodes(scene)
        self.samples = SampleView(scene)
        self.live = LiveView(scene, self.curves, self.samples)
        self._state: State | None = None
        self._estimate: Job | None = None

    @property
    def state(self) -> State | None:
        """How the run stood at the last poll; None without a run."""
        return self._state

    def runs(self, project_folder: Path | str) -> list[Run]:
        """Return the runs of a project, the oldest first."""
        return list_runs(project_folder)

    def find(self, project_folder: Path | str) -> Run | None:
        """Return the run of a project that is in progress, else the newest if it can be resumed, else None."""
        runs = list_runs(project_folder)
        active = [run for run in runs if run.state.active]
        if active:
            return active[-1]
        return runs[-1] if runs and runs[-1].state.resumable else None

    def elsewhere(self) -> Run | None:
        """Return the training of this user that is in progress in another project or window, or None."""
        found = running_anywhere()
        own = self.run is not None and found is not None and found.folder == self.run.folder
        return None if own else found

    def start(self, project_folder: Path | str, settings: AnySettings) -> Run:
        """Start a run and follow it; raises ``BusyError`` where one is in progress, and what ``start_run`` raises."""
        run = start_run(project_folder, settings)
        self.attach(run)
        return run

    def attach(self, run: Run) -> None:
        """Follow a run from its first event on."""
        self.detach()
        self.run = Run(run.folder)
        self.poll()

    def detach(self) -> None:
        """Follow no run; it goes on by itself."""
        self.run, self._state = None, None
        self.curves.clear()
        self.samples.clear()

    def pause(self) -> None:
        """Ask the run to write a checkpoint and end its process."""
        self._followed().pause()
        self.poll()

    def resume(self) -> None:
        """Let the run go on where it stopped; raises ``BusyError`` where another one is in progress."""
        self._followed().resume()
        self.poll()

    def cancel(self) -> None:
        """Ask the run to stop for good."""
        self._followed().cancel()
        self.poll()

    def estimate(self, project_folder: Path | str, settings: RunSettings) -> None:
        """Measure a few real steps in the worker; ``estimated`` or ``failed`` follows from ``poll()``."""
        if self.jobs is None:
            raise UsageError("Estimates need the worker.", "Give TrainLogic the jobs of the worker.")
        if self._estimate is not None:
            self._estimate.cancel()
        self._estimate = self.jobs.submit("estimate", {"settings": asdict(settings), "data": str(project_folder)})

    def poll(self) -> State | None:
        """Take in what the run reported since the last poll, emit signals and return its state."""
        self._poll_estimate()
        if self.run is None:
            return None
        state = self.run.state  # before the events: what comes after it is told at the next poll
        self._tell(self.run.poll())
        if state is not self._state:
            self._state = state
            self.state_changed.emit(state)
            self._tell_end(state)
        return state

    def close(self) -> None:
        """Leave the views and stop following; the run's own process sees that its owner is gone."""
        self.live.leave()
        self.detach()
        if self._estimate is not None:
            self._estimate.cancel()
            self._estimate = None

    def _followed(self) -> Run:
        if self.run is None:
            raise UsageError("There is no training.", "Start one first.")
        return self.run

    def _tell(self, events: Sequence[RunEvent]) -> None:
        """Emit the events; of many stages, progress and samples only the last ones matter.

        Each network of a recipe counts its steps from 0: the curves are those of the one that is trained.
        """
        last: dict[type, RunEvent] = {}
        metrics: list[Metric] = []
        for event in events:
            if isinstance(event, Stage) and begins_network(event.name):
                self.curves.clear()
                metrics, last = [], {}
                self.stage.emit(event.name)
            elif isinstance(event, Metric):
                metrics.append(event)
            elif isinstance(event, Warn):
                self.warned.emit(event.message)
            else:
                last[type(event)] = event
        if metrics:
            self.curves.add([(event.step, event.values) for event in metrics])
        for event in metrics:
            self.metric.emit(event.step, event.values)
        for event in last.values():
            self._tell_last(event)
        if metrics or Sample in last:
            self.live.update()

    def _tell_last(self, event: RunEvent) -> None:
        if isinstance(event, Stage):
            self.stage.emit(event.name)
        elif isinstance(event, Progress):
            self.progress.emit(event.done, event.total, event.seconds_left)
        elif isinstance(event, Sample) and self.run is not None:
            self.samples.load(self.run.folder / event.file, event.step)
            self.sampled.emit(event)

    def _tell_end(self, state: State) -> None:
        if self.run is None:
            return
        if state is State.FINISHED:
            self.finished.emit(self.run.result())
        elif state is State.FAILED:
            self.failed.emit(self.run.error or HlfdError("The training failed.", "See its log."))
        elif state is State.INTERRUPTED:
            said = "The training was interrupted: its process is gone without a word."
            self.failed.emit(HlfdError(said, "Resume it; it goes on from its last checkpoint."))

    def _poll_estimate(self) -> None:
        job = self._estimate
        if job is None or self.jobs is None:
            return
        self.jobs.poll()
        for event in job.take_events():
            if isinstance(event, Stage):
                self.stage.emit(event.name)
        if not job.finished:
            return
        self._estimate = None
        if job.state is JobState.DONE:
            self.estimated.emit(dict(job.result))
        elif job.state is JobState.FAILED:
            self.failed.emit(job.error)
        job.release()
