"""Processes by number and start time: a number alone may have been given to another process meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from hlfd.errors import WorkerDiedError
from hlfd.jobs.process import child_environment, is_running, python_command

_WINDOWS = os.name == "nt"


def start_time(pid: int) -> str:
    """Return a text that is the same as long as ``pid`` is the same living process, and empty where it is gone."""
    if pid <= 0 or not is_running(pid):
        return ""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            return "" if fields[0] == "Z" else fields[19]  # a zombie is gone, though its number is still taken
        return ""
    return _windows_start(pid) if _WINDOWS else _ps_start(pid)


def _ps_start(pid: int) -> str:
    command = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    text = found.stdout.strip()
    return "" if text.startswith("Z") else text.partition(" ")[2].strip()


def _windows_start(pid: int) -> str:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return "unknown"  # it lives, but belongs to someone else
    times = [ctypes.c_ulonglong() for _ in range(4)]
    try:
        kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
    finally:
        kernel.CloseHandle(handle)
    return str(times[0].value)


def lives(pid: int, started: str) -> bool:
    """Return whether the process ``pid`` that began at ``started`` (see ``start_time``) still runs."""
    return bool(started) and start_time(pid) == started


def start_detached(folder: Path, log: Path, owner: int) -> int:
    """Start ``python -m hlfd.runs FOLDER`` so that it outlives this process; return its process id.

    What it prints goes to ``log``. Inside of Slicer the id is that of the launcher PythonSlicer, until the run tells
    its own. Raises ``WorkerDiedError`` where it cannot be started.
    """
    command = [*python_command(), "-u", "-m", "hlfd.runs", str(folder), "--owner", str(owner)]
    flags = 0
    if _WINDOWS:  # below normal priority: whoever works with Slicer meanwhile comes first
        flags = 0x00000008 | subprocess.CREATE_NEW_PROCESS_GROUP | 0x00004000  # type: ignore[attr-defined]
    try:
        with log.open("ab") as stream:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=child_environment(),
                cwd=str(folder),
                start_new_session=not _WINDOWS,
                creationflags=flags,
            )
    except OSError as error:
        raise WorkerDiedError(
            f'The training could not be started by "{command[0]}": {error.strerror or error}.',
            "Check the installation, and that the machine has memory and disk space left.",
        ) from error
    threading.Thread(target=popen.wait, name="hlfd-run", daemon=True).start()  # no zombie stays behind
    return popen.pid
