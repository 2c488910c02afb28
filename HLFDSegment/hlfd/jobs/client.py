"""``Jobs``: hands jobs to one warm worker process and follows them, without ever blocking its owner."""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.errors import HlfdError, UsageError, WorkerDiedError
from hlfd.jobs.courier import Courier
from hlfd.jobs.files import (
    ANSWER,
    IN,
    OUT,
    REQUEST,
    folder_error,
    make_session_folder,
    open_arrays,
    read_json,
    save_array,
    write_json,
)
from hlfd.jobs.job import Job, State
from hlfd.jobs.process import WorkerProcess, child_environment, python_command
from hlfd.jobs.protocol import error_from_dict, event_from

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRACE_S = 0.6
"""Seconds between asking a job to stop and killing the worker: a click on Cancel is answered within a second."""
IDLE_EXIT_S = 900.0
_HANG_UP_S = 0.5
_BEAT_S = 1.0  # the worker says this often that it lives
_DOUBTS = 2  # beats in which the worker does not know a job that is not finished here


class Jobs:
    """The worker and its jobs. All methods may be called from any thread and return at once, except ``close``.

    ``python`` is the command that starts Python (default: ``python_command()``), ``folder`` where the files of jobs go
    (default: the temporary folder), ``packages`` are searched for job modules after ``hlfd.worker``, ``environment``
    is added to the worker's. The worker starts with the first job and leaves after ``idle_exit_s`` seconds without one.
    """

    def __init__(
        self,
        python: Sequence[str] | None = None,
        folder: Path | None = None,
        packages: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        idle_exit_s: float = IDLE_EXIT_S,
    ) -> None:
        self._python = list(python or ())
        self._root = folder
        self._options = ["--idle-exit", f"{idle_exit_s:g}", *(f"--package={name}" for name in packages)]
        self._environment = dict(environment or {})
        self._lock = threading.RLock()
        self._courier = Courier()
        self._inbox: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._jobs: dict[str, Job] = {}
        self._count = 0
        self._process: WorkerProcess | None = None
        self._session: Path | None = None
        self._log = ""
        self._closed = False

    def submit(
        self,
        kind: str,
        arguments: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray] | None = None,
        grace_s: float = GRACE_S,
    ) -> Job:
        """Hand in a job and return it; it waits for those before it.

        ``arguments`` must fit into JSON; ``arrays`` must stay as they are until the job runs.
        """
        with self._lock:
            if self._closed:
                raise UsageError("The worker was closed.", "Make a new one.")
            self._count += 1
            job = Job(self, self._count, kind, arguments or {}, grace_s)
            self._jobs[job.id] = job
            self._courier.send(partial(self._deliver, job, dict(arrays or {})))
        return job

    def poll(self) -> None:
        """Take in what the worker said; a job's attributes change here and nowhere else."""
        with self._lock:
            if self._process is not None:
                self._process.check()
            while True:
                try:
                    source, message = self._inbox.get_nowait()
                except queue.Empty:
                    break
                if isinstance(source, Job):
                    self._fail(source, message)
                elif message is None:
                    self._on_end(source)
                else:
                    self._on_message(source, message)
            now = time.monotonic()
            for job in [job for job in self._jobs.values() if job.state is State.CANCELLING]:
                if now >= job.kill_at and job.process is not None:
                    job.process.kill()

    def cancel(self, job: Job) -> None:
        """See ``Job.cancel``."""
        with self._lock:
            self.poll()
            if job.finished or job.state is State.CANCELLING:
                return
            if job.process is not None:
                job.process.send({"do": "cancel", "job": job.id})
            if job.process is None or self._stands_in_line(job):
                self._finish(job, State.CANCELLED)
                return
            job.state = State.CANCELLING
            job.kill_at = time.monotonic() + job.grace_s

    def _stands_in_line(self, job: Job) -> bool:
        """Return whether the worker is busy with another job, for which it must not be killed."""
        return any(other.state is State.RUNNING and other is not job for other in self._jobs.values())

    def release(self, job: Job) -> None:
        """See ``Job.release``."""
        with self._lock:
            folder, job.folder = job.folder, None
            self._jobs.pop(job.id, None)
            if folder is not None and not self._closed:
                self._courier.remove(folder)

    def log(self) -> str:
        """Return the last lines that the worker, and the one before it, printed."""
        with self._lock:
            return "\n".join(filter(None, (self._log, self._process.log() if self._process else "")))

    @property
    def worker_pid(self) -> int | None:
        """The process id of the running worker, None before it said hello."""
        return self._process.pid if self._process is not None else None

    def restart(self) -> None:
        """Let the next job start a new worker, which sees packages that were installed since; raises while one runs."""
        with self._lock:
            self.poll()
            if any(not job.finished for job in self._jobs.values()):
                raise UsageError("A job is still running.", "Wait for it, or cancel it first.")
            if self._process is not None:
                self._process.left = True
                self._process.send({"do": "leave"})

    def close(self) -> None:
        """Cancel all jobs, end the worker and remove all files; takes a second, or three with large arrays."""
        with self._lock:
            self._closed = True
            unfinished = [job for job in self._jobs.values() if not job.finished]
            process = self._process
        self._courier.close(timeout=2.0)  # a process that is just being started must be known before it is ended
        process = self._process or process
        if process is not None:
            process.hang_up()
            if not process.wait(_HANG_UP_S):
                process.kill()
                process.wait(_HANG_UP_S)
        with self._lock:
            self._process = None
            for job in unfinished:
                self._finish(job, State.CANCELLED)
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)

    def _deliver(self, job: Job, arrays: Mapping[str, NDArray]) -> None:
        """Write the files of a job, start the worker if need be, and send the job; runs in the courier's thread."""
        try:
            if job.finished or self._closed:
                return
            if self._session is None:
                self._session = make_session_folder(self._root)
            folder = self._session / f"job-{job.id}"
            process = self._running_process()  # it starts while the arrays are written
            job.folder = folder
            try:
                folder.mkdir(exist_ok=True)
                for name, array in arrays.items():
                    save_array(folder, IN, name, array)
                write_json(folder / REQUEST, {"arguments": job.arguments})
            except OSError as error:
                raise folder_error(self._session, error) from error
        except HlfdError as error:
            self._inbox.put((job, error))
            return
        except Exception as error:  # such as arguments that are no JSON: the job must end in any case
            self._inbox.put((job, UsageError(f"The job could not be handed over: {type(error).__name__}: {error}.")))
            return
        with self._lock:
            if job.finished:
                self._courier.remove(folder)
                return
            job.process, job.sent_at = process, time.monotonic()
            process.send({"do": "run", "job": job.id, "kind": job.kind, "folder": str(folder)})

    def _running_process(self) -> WorkerProcess:
        with self._lock:
            process = self._process
        if process is not None and process.code is None and not process.left:
            return process
        options = ["--folder", str(self._session), "--owner", str(os.getpid()), "--own-group", *self._options]
        command = [*(self._python or python_command()), "-u", "-m", "hlfd.worker", *options]
        started = WorkerProcess(command, child_environment(self._environment), self._hear)
        with self._lock:
            if process is not None:
                self._log = process.log()
            self._process = started
        return started

    def _hear(self, process: WorkerProcess, message: dict[str, Any] | None) -> None:
        self._inbox.put((process, message and {**message, "heard_at": time.monotonic()}))

    def _on_message(self, process: WorkerProcess, message: dict[str, Any]) -> None:
        kind = message.get("event")
        if kind == "hello":
            process.said_hello, process.pid = True, message.get("pid")
        elif kind == "bye":
            process.left = True
        elif kind == "alive":
            self._compare(process, message)
        job = self._jobs.get(str(message.get("job")))
        if job is None or job.finished or job.process is not process:
            return
        if job.state is State.WAITING:
            job.state = State.RUNNING
        if kind == "done":
            self._take_answer(job)
        elif kind == "error":
            self._fail(job, error_from_dict(message.get("error") or {}))
        elif (event := event_from(message)) is not None:
            job.add_event(event)

    def _compare(self, process: WorkerProcess, beat: dict[str, Any]) -> None:
        """Find the job whose end was told by a line that was damaged: the worker has it no longer, its owner has."""
        works_on, heard = beat.get("job"), float(beat["heard_at"])
        for job in tuple(self._jobs.values()):
            open_here = job.process is process and job.state in (State.WAITING, State.RUNNING)
            waits = job.state is State.WAITING and works_on is not None
            if open_here and not waits and job.id != works_on and heard > job.sent_at + _BEAT_S:
                job.doubts += 1
                if job.doubts >= _DOUBTS:
                    self._take_answer(job)

    def _take_answer(self, job: Job) -> None:
        if job.folder is None:
            return
        try:
            answer = read_json(job.folder / ANSWER)
            arrays = open_arrays(job.folder, OUT)
        except HlfdError as error:
            self._fail(job, error)
            return
        job.result, job.arrays = answer, arrays
        self._finish(job, State.DONE)

    def _fail(self, job: Job, error: HlfdError) -> None:
        if job.finished:
            return
        if job.state is State.CANCELLING or error.code == "cancelled":
            self._finish(job, State.CANCELLED)
            return
        job.error = error
        self._finish(job, State.FAILED)

    def _finish(self, job: Job, state: State) -> None:
        job.state = state
        if not job.arrays:
            self.release(job)

    def _on_end(self, process: WorkerProcess) -> None:
        """Settle the jobs of a worker that is gone; those that it had not begun go to the next one."""
        process.left = True
        for job in [job for job in self._jobs.values() if job.process is process and not job.finished]:
            if job.state is State.CANCELLING:
                self._finish(job, State.CANCELLED)
            elif job.state is State.WAITING and process.said_hello and not job.sent_again:
                job.process, job.sent_again = None, True
                self._courier.send(partial(self._deliver, job, {}))  # its files are written already
            else:
                self._fail(job, _death(process))


def _death(process: WorkerProcess) -> HlfdError:
    if not process.said_hello:
        return WorkerDiedError(
            f"The worker process did not start: it ended with {process.last_words()}.",
            "See the log; installing the requirements again may help.",
        )
    return WorkerDiedError(
        f"The worker process ended in the middle of the work ({process.last_words()}).",
        "Start again. If it happens again, close other programs: the system may have stopped it for want of memory.",
    )
