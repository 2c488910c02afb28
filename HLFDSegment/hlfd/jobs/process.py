"""The worker's process: started hidden, read by threads that never keep anyone waiting, ended with all it started.

On POSIX the process leads a session of its own, so that one signal reaches PythonSlicer (a launcher), the interpreter
behind it, and what that started; on Windows ``taskkill /T`` walks the same tree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import hlfd
from hlfd.errors import WorkerDiedError
from hlfd.jobs.protocol import decode, encode

_WINDOWS = os.name == "nt"
_LOG_LINES = 2000
_LINE_BYTES = 1 << 20  # a longer line without an end is taken in pieces, as log

OnMessage = Callable[["WorkerProcess", "dict[str, Any] | None"], None]


def python_command() -> list[str]:
    """Return the command that starts Python: PythonSlicer inside of Slicer, else this interpreter.

    Slicer puts PythonSlicer on PATH; ``sys.executable`` there may be Slicer itself, which must not be started again.
    """
    found = shutil.which("PythonSlicer")
    if found:
        return [found]
    beside = Path(sys.executable or "").with_name("PythonSlicer.exe" if _WINDOWS else "PythonSlicer")
    if beside.is_file():
        return [str(beside)]
    if "python" not in Path(sys.executable or "").name.lower():
        raise WorkerDiedError(
            f'No Python interpreter was found beside "{sys.executable}".', "Repair the installation of 3D Slicer."
        )
    return [sys.executable]


def is_running(pid: int) -> bool:
    """Return whether a process with this id lives."""
    if pid <= 0:
        return False
    if _WINDOWS:
        return _is_running_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, but belongs to someone else
        return True
    return True


def _is_running_windows(pid: int) -> bool:
    import ctypes

    synchronize, timeout = 0x00100000, 0x00000102
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return bool(kernel.GetLastError() == 5)  # access denied: it lives, but belongs to someone else
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == timeout)
    finally:
        kernel.CloseHandle(handle)


def end_own_group() -> None:
    """End this process and all that it started; only for a worker that was started with a group of its own."""
    if _WINDOWS:
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        subprocess.Popen(["taskkill", "/T", "/F", "/PID", str(os.getpid())], creationflags=hidden)
    else:
        os.killpg(os.getpgid(0), signal.SIGKILL)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the worker: UTF-8 always, and the engine that runs here on its search path.

    Threads of torch that have nothing to do sleep: where others use the processor, spinning ones (the default) hold up
    those that work, Slicer's own too.
    """
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **(extra or {})}
    search = [str(Path(hlfd.__file__).resolve().parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    return {**environment, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


class WorkerProcess:
    """A started worker. ``on_message`` gets its messages, and None once when it is gone, in threads of this object."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], on_message: OnMessage) -> None:
        """Start it; raise ``WorkerDiedError`` where that is not possible."""
        self.said_hello = False
        self.pid: int | None = None
        self.code: int | None = None
        self.left = False
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._on_message = on_message
        self._writing = threading.Lock()
        self._gone = threading.Event()
        self._popen = _start(command, environment)
        if self._popen.stdout is None or self._popen.stderr is None:
            raise AssertionError("both streams are pipes")
        self._errors = threading.Thread(target=self._read_log, args=(self._popen.stderr,), daemon=True)
        self._errors.start()
        threading.Thread(target=self._read, args=(self._popen.stdout,), daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; one that finds no reader any more is dropped, the end of the process is reported anyhow."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            if self._popen.stdin is not None:
                self._popen.stdin.write(encode(message))
                self._popen.stdin.flush()

    def hang_up(self) -> None:
        """Close the stream to the worker, upon which it leaves by itself."""
        with self._writing, contextlib.suppress(OSError, ValueError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        if _WINDOWS:
            if self._popen.poll() is None:
                command = ["taskkill", "/T", "/F", "/PID", str(self._popen.pid)]
                hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, creationflags=hidden)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a zombie's group is not permitted
            os.killpg(self._popen.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Return whether the process is gone within ``timeout`` seconds."""
        return self._gone.wait(timeout)

    def check(self) -> None:
        """End what the process left behind when it died: its heirs would keep its streams open."""
        if self.code is None and self._popen.poll() is not None:
            self.kill()

    def log(self) -> str:
        """Return the last lines that the process printed."""
        return "\n".join(tuple(self._log))

    def last_words(self) -> str:
        """Return how it ended, with its last line of log."""
        said = next((line.strip() for line in reversed(tuple(self._log)) if line.strip()), "")
        if self.code is not None and self.code < 0:
            with contextlib.suppress(ValueError):
                return f"signal {signal.Signals(-self.code).name}"
        return f"code {self.code}{f', {said[:500]}' if said else ''}"

    def _read(self, stream: IO[bytes]) -> None:
        for line in iter(lambda: stream.readline(_LINE_BYTES), b""):
            message = decode(line)
            if message is None:
                self._keep(line)
            else:
                self._on_message(self, message)
        stream.close()
        self.kill()  # before wait(): until then the number of the group cannot belong to others
        code = self._popen.wait()
        self._errors.join(1.0)  # its last words
        self.hang_up()
        self.code = code
        self._gone.set()
        self._on_message(self, None)

    def _read_log(self, stream: IO[bytes]) -> None:
        for line in iter(lambda: stream.readline(_LINE_BYTES), b""):
            self._keep(line)
        stream.close()

    def _keep(self, line: bytes) -> None:
        self._log.append(line.decode("utf-8", errors="backslashreplace").rstrip())


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    flags = 0
    if _WINDOWS:
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=not _WINDOWS,
            creationflags=flags,
        )
    except OSError as error:
        raise WorkerDiedError(
            f'The worker process could not be started by "{command[0]}": {error.strerror or error}.',
            "Check the installation, and that the machine has memory left.",
        ) from error
