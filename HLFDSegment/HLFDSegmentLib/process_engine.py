"""The engine in a process of its own: desktop Slicer never loads a network library, and never hangs or falls with one.

It runs ``python -m hlfd segment`` and reads its JSON. The image travels as NRRD with its exact matrix.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hlfd
from hlfd.errors import CancelledError, HlfdError
from hlfd.events import CancelToken, OnEvent, Progress, Stage, Warn, ignore
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.volume import LabelMap, Volume

_POLL_SECONDS, _GRACE_SECONDS = 0.05, 5.0
_PERCENT = re.compile(r"(\d+) %")


class ProcessEngine:
    """Segments by a child process; ``python`` is the command that starts the interpreter, ``arguments`` are added.

    In Slicer ``python`` is ``[shutil.which("PythonSlicer")]``, elsewhere ``[sys.executable]``.
    """

    def __init__(self, python: Sequence[str], model: str = "kidney", arguments: Sequence[str] = ()) -> None:
        self._python = list(python)
        self._arguments = ["--model", model, *arguments]

    def run(self, volume: Volume, on_event: OnEvent = ignore, cancel: CancelToken | None = None) -> SegmentationResult:
        """Segment the volume; see ``SegmentLogic``. Raises the child's ``HlfdError``."""
        from hlfd.io import read_label_map, write_volume

        with tempfile.TemporaryDirectory(prefix="hlfd-", ignore_cleanup_errors=True) as folder:
            source, target = Path(folder) / "ct.nrrd", Path(folder) / "labels.seg.nrrd"
            on_event(Stage("starting"))
            write_volume(volume, source)
            answer = self._ask(["segment", str(source), str(target)], Path(folder), on_event, cancel or CancelToken())
            label_map = read_label_map(target)
        on_labels = LabelMap(label_map.array, volume.affine, label_map.labels)
        return result_from_json(answer, on_labels)

    def _ask(self, job: list[str], folder: Path, on_event: OnEvent, cancel: CancelToken) -> dict[str, Any]:
        command = [*self._python, "-m", "hlfd", *job, *self._arguments, "--json"]
        answer, log = folder / "answer.json", folder / "log.txt"
        with answer.open("wb") as out, log.open("wb") as err, log.open("r", encoding="utf-8", errors="replace") as said:
            process = _start(command, out, err)
            try:
                while process.poll() is None:
                    cancel.check()
                    _report(said.readlines(), on_event)
                    time.sleep(_POLL_SECONDS)
            finally:
                _stop(process)
            _report(said.readlines(), on_event)
        return _read_answer(answer, log, process.returncode)


def result_from_json(answer: Mapping[str, Any], label_map: LabelMap) -> SegmentationResult:
    """Return the result that ``SegmentationResult.to_dict`` wrote, with its label map."""
    known = {name: answer[name] for name in SegmentationResult.__dataclass_fields__ if name in answer}
    structures = tuple(Structure(**values) for values in answer["structures"])
    lesions = tuple(Lesion(**{**values, "centroid_ras": tuple(values["centroid_ras"])}) for values in answer["lesions"])
    regions = tuple((tuple(low), tuple(high)) for low, high in answer.get("regions", ()))
    made = {"label_map": label_map, "structures": structures, "lesions": lesions, "regions": regions}
    return SegmentationResult(**{**known, **made, "warnings": tuple(answer.get("warnings", ()))})


def _start(command: list[str], out: Any, err: Any) -> subprocess.Popen[bytes]:
    search = [str(Path(hlfd.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search)), "PYTHONUTF8": "1"}
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=os.name == "posix",  # PythonSlicer is a launcher: signals must reach what it launches
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise HlfdError(f'"{command[0]}" could not be started: {error}.', "Check the installation.") from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it launched: first asked, then, after some seconds, forced."""
    if process.poll() is not None:
        return
    if os.name == "posix":
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        _signal_group(process, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _report(lines: Sequence[str], on_event: OnEvent) -> None:
    for line in lines:
        if (percent := _PERCENT.search(line)) is not None:
            on_event(Progress(float(percent.group(1)), 100.0))
        elif "warning: " in line:
            on_event(Warn(line.split("warning: ", 1)[1].strip()))


def _read_answer(answer: Path, log: Path, code: int) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    except ValueError:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"it ended with code {code}"
        raise HlfdError(f"The segmentation process failed: {reason}.", "See the application log.") from None
    if "error" in values:
        raise _error(values["error"])
    return values


def _error(values: Mapping[str, str]) -> HlfdError:
    classes = [HlfdError]
    for kind in classes:  # grows while walked: all descendants
        classes.extend(kind.__subclasses__())
    if values.get("code") == CancelledError.code:
        return CancelledError(values.get("message", "Cancelled."))
    kind = next((kind for kind in classes if kind.code == values.get("code")), HlfdError)
    return kind(values.get("message", "Unknown error."), values.get("remedy", ""))
