"""``Run``: a training that others follow, pause, resume and cancel through the files in its folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from hlfd.errors import HlfdError, MissingInputError, OutputError, UsageError
from hlfd.files import output_error, write_json
from hlfd.jobs.protocol import error_from_dict
from hlfd.models.registry import find_folder, user_models
from hlfd.models.resources import bundled_models, find_recipe
from hlfd.runs.files import EventReader, RunEvent, RunFiles, read_object
from hlfd.runs.lock import holder, note_holder, refuse_second
from hlfd.runs.process import lives, start_detached, start_time
from hlfd.runs.settings import AnySettings, DistilSettings, read_settings, write_settings

RUNS = "runs"
GRACE_S = 20.0
"""Seconds that a run has to stop at a safe point after it was cancelled, before its process is ended."""
_LOG_BYTES = 64 << 10


class State(str, Enum):
    """How a run stands; its value is what panels show."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The process is gone without a word: killed, or the machine was switched off."""

    @property
    def active(self) -> bool:
        """Whether a process works on it."""
        return self in (State.STARTING, State.RUNNING, State.PAUSING)

    @property
    def resumable(self) -> bool:
        """Whether ``resume`` goes on with it."""
        return self in (State.PAUSED, State.FAILED, State.INTERRUPTED)


class Run:
    """A run by its folder. All methods return at once; what they ask for shows in ``state`` at a later look."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).absolute()
        self.files = RunFiles(self.folder)
        self._reader = EventReader(self.files.events)
        self._kill_at: float | None = None

    @property
    def id(self) -> str:
        """Its name, such as run-0001."""
        return self.folder.name

    @property
    def settings(self) -> AnySettings:
        """What it does; raises ``ConfigError`` for a folder whose settings are damaged."""
        return read_settings(self.files.settings)

    @property
    def data(self) -> Path:
        """The project or data set that it learns from."""
        return data_of(self.folder, self.settings)

    @property
    def state(self) -> State:
        """How it stands now."""
        note = read_object(self.files.state)
        try:
            told = State(str(note.get("state", "")))
        except ValueError:
            return State.INTERRUPTED  # damaged, or killed before the first word
        if not told.active:
            return told
        if not self._lives(told, note):
            return State.INTERRUPTED
        return State.PAUSING if told is State.RUNNING and self.files.request.exists() else told

    def _lives(self, told: State, note: dict[str, Any]) -> bool:
        """Return whether its process runs; until that tells its own number, the one that was started counts."""
        if told is State.STARTING:
            note = read_object(self.folder / "launch.json") or note
        return lives(int(note.get("pid", 0)), str(note.get("started", "")))

    @property
    def error(self) -> HlfdError | None:
        """Why it failed."""
        values = read_object(self.files.state).get("error")
        return error_from_dict(values) if isinstance(values, dict) else None

    def poll(self) -> list[RunEvent]:
        """Return the events since the last poll; takes a few milliseconds at most."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._kill_at = None
            if self.state.active:
                self.kill()
                self.mark_cancelled()  # else it would look interrupted
        return self._reader.read()

    def log_tail(self) -> str:
        """Return the end of what its process printed."""
        with contextlib.suppress(OSError), self.files.log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _LOG_BYTES))
            return stream.read().decode("utf-8", errors="replace")
        return ""

    def pause(self) -> None:
        """Ask it to write a checkpoint and to end its process."""
        if self.state.active:
            write_json(self.files.request, {"do": "pause"})

    def cancel(self) -> None:
        """Ask it to stop for good; the log stays, what it trained goes. A process that hangs is ended."""
        state = self.state
        if state.active:
            write_json(self.files.request, {"do": "cancel"})
            self._kill_at = time.monotonic() + GRACE_S
        elif state.resumable:
            self.mark_cancelled()

    def mark_cancelled(self) -> None:
        """Write down that it was cancelled, and delete what it trained."""
        for path in (self.files.work, self.files.predictions):
            with contextlib.suppress(OutputError):  # Windows, where the process still has files open: the run is over
                discard(path)
        write_json(self.files.state, {"state": State.CANCELLED.value})  # last: who reads it finds no leftovers

    def resume(self) -> None:
        """Go on where it stopped; raises ``BusyError`` while another run is in progress, ``UsageError`` if it ended."""
        state = self.state
        if not state.resumable:
            raise UsageError(f"The training {self.id} is {state.value}; it cannot go on.", "Start a new one.")
        refuse_second(self.folder)
        self.launch()

    def remove(self) -> None:
        """Delete the run with all that it wrote; raises ``UsageError`` while it works."""
        if self.state.active:
            raise UsageError(f"The training {self.id} is {self.state.value}.", "Cancel it first.")
        discard(self.folder)

    def result(self) -> dict[str, Any]:
        """Return the outcome of a finished run, see ``hlfd.runs.outcome``; raises ``UsageError`` for another state."""
        values = read_object(self.files.result)
        if self.state is not State.FINISHED or not values:
            raise UsageError(f"The training {self.id} has no result: it is {self.state.value}.", "Wait for its end.")
        found: dict[str, Any] = _moved(values, str(values.get("project", "")), str(self.folder.parents[1]))
        return found

    def launch(self) -> None:
        """Start its process."""
        for path in (self.files.request, self.folder / "launch.json"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        owner = os.getpid()
        write_json(self.files.state, {"state": State.STARTING.value, "pid": owner, "started": start_time(owner)})
        pid = start_detached(self.folder, self.files.log, owner)
        started = start_time(pid)
        write_json(self.folder / "launch.json", {"pid": pid, "started": started})
        if holder() is None:
            note_holder(self.folder, pid, started)

    def kill(self) -> None:
        """End its process and what that started, at once; a later look finds it interrupted."""
        note = read_object(self.files.state)
        pid, group = int(note.get("pid", 0)), int(note.get("group", 0))
        if not lives(pid, str(note.get("started", ""))) or pid == os.getpid():
            return
        if os.name == "nt":
            hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
            subprocess.Popen(["taskkill", "/T", "/F", "/PID", str(pid)], creationflags=hidden)
        elif group > 0 and group != os.getpgid(0):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a result with the paths of its project as they are after the project was moved from ``old`` to ``new``."""
    if isinstance(value, dict):
        return {name: _moved(part, old, new) for name, part in value.items()}
    inside = isinstance(value, str) and old and Path(old) in Path(value).parents
    return str(Path(new) / Path(value).relative_to(old)) if inside else value


def start_run(project_folder: Path | str, settings: AnySettings) -> Run:
    """Start a training for the project and return it; its folder is ``<project>/runs/run-0001`` and so on.

    Raises ``BusyError`` while another one runs, ``ModelError`` for an unknown student, ``ConfigError``,
    ``MissingInputError`` for a project that is not there, ``OutputError``.
    """
    project = Path(project_folder).expanduser().absolute()
    if not project.is_dir():
        raise MissingInputError(f'The project folder "{project}" does not exist.', "Choose another.")
    refuse_second()
    settings = _pinned_settings(settings)
    folder = _new_folder(project / RUNS)
    run = Run(folder)
    write_settings(run.files.settings, settings)
    run.launch()
    return run


def pinned(model: str) -> str:
    """Return the model with its version, so that a newer one that is installed meanwhile changes nothing."""
    folder = find_folder(model)
    if folder.parent.parent in (user_models(), bundled_models()):
        return f"{folder.parent.name}/{folder.name}"
    return str(folder.absolute())


def _pinned_settings(settings: AnySettings) -> AnySettings:
    """Return the settings so that they mean the same in another working folder and at a later time."""
    if isinstance(settings, DistilSettings):
        return replace(settings, recipe=str(find_recipe(settings.recipe).absolute()), data=_absolute(settings.data))
    return replace(
        settings,
        model=pinned(settings.model),
        teacher=_absolute(settings.teacher),
        project=_absolute(settings.project),
    )


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path and Path(path).expanduser().exists() else path


def list_runs(project_folder: Path | str) -> list[Run]:
    """Return the runs of a project, the oldest first."""
    folders = sorted(Path(project_folder).expanduser().glob(f"{RUNS}/run-*"))
    return [Run(folder) for folder in folders if (folder / "settings.json").is_file()]


def running_anywhere() -> Run | None:
    """Return the training of this user that is in progress, in whatever project, or None."""
    folder = holder()
    return Run(folder) if folder is not None and folder.is_dir() else None


def data_of(folder: Path, settings: AnySettings) -> Path:
    """Return what a run in ``folder`` learns from: what its settings name, else its project."""
    named = settings.data if isinstance(settings, DistilSettings) else settings.project
    return Path(named).expanduser() if named else folder.parents[1]


def _new_folder(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken: Sequence[int] = [int(path.name[4:]) for path in parent.glob("run-*") if path.name[4:].isdigit()]
        number = max(taken, default=0) + 1
        while True:
            folder = parent / f"run-{number:04d}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                continue
            return folder
    except OSError as error:
        raise output_error(parent, error) from error


def discard(folder: Path) -> None:
    """Delete a folder: out of sight at once, in full by a thread; raises ``OutputError`` where that is not possible."""
    if not folder.exists():
        return
    hidden = folder.with_name(f".removed-{folder.name}-{os.getpid()}-{time.monotonic_ns()}")
    try:
        os.replace(folder, hidden)
    except OSError as error:
        raise OutputError(f'"{folder}" cannot be removed: {error.strerror or error}.') from error
    threading.Thread(target=shutil.rmtree, args=(hidden, True), name="hlfd-discard").start()
