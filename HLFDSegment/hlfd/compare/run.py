"""Runs a comparison: data, then every unit (method x seed) that is not there yet, then results, table and page."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import hlfd
from hlfd.compare.data import prepare_data
from hlfd.compare.report import write_results
from hlfd.compare.results import TEACHER_SCORES
from hlfd.compare.settings import CompareSettings, check_compare, data_key, fingerprint, unit_key
from hlfd.compare.student import build_student, initial_sha256
from hlfd.compare.teacher import distinct_taps, load_teacher, teacher_sha256
from hlfd.compare.unit import DATA_RECORD, RESULT, make_objective, score
from hlfd.config import look_up, read_based_yaml
from hlfd.distillation.teacher import probe_channels, tap_paths
from hlfd.errors import ConfigError, OutputError
from hlfd.events import CancelToken, OnEvent, Progress, Stage, Warn, ignore
from hlfd.files import write_json, write_text

CONFIG = "compare.yaml"
_POLL_S = 0.5
_GRACE_S = 60.0
Unit = tuple[str, int]


@dataclass(frozen=True)
class CompareOutcome:
    """What a run gave: the results (see ``hlfd.compare.results``), and the units that failed with their errors."""

    folder: Path
    results: dict[str, Any]
    failed: dict[str, dict[str, str]]


def run_compare(
    path: Path,
    jobs: int = 1,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    only: list[str] | None = None,
    steps: int | None = None,
    fresh: bool = False,
) -> CompareOutcome:
    """Run the comparison at ``path`` in ``jobs`` processes of one thread each, and report what is finished.

    Finished units are skipped, broken ones resumed. ``only`` names the methods to train now, ``steps`` replaces the
    number of steps, ``fresh`` deletes all earlier units and data of the folder. A failed unit does not stop the others.
    Raises ``ConfigError`` for anything wrong in the file, before anything is trained, ``ModelError``, ``OutputError``
    and ``CancelledError``.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; at least 1 was expected.")
    settings, text = _settings(path, steps)
    names = [look_up(name, list(settings.methods), "method") for name in only or settings.methods]
    if fresh:
        _forget(settings)
    config = settings.folder / CONFIG
    record = _check(settings, on_event)
    write_text(config, text)
    prepare_data(settings, jobs, on_event, cancel)
    _score_teacher(settings)
    units = [(name, seed) for seed in settings.seeds for name in names]
    on_event(Stage("train"))
    failed = _train(settings, config, _missing(settings, units, record["key"]), jobs, on_event, cancel)
    on_event(Stage("report"))
    return CompareOutcome(settings.folder, write_results(settings, record), failed)


def report_only(path: Path, steps: int | None = None) -> CompareOutcome:
    """Write results, table and page from the units that are finished, without training."""
    from hlfd.compare.unit import read_data_record

    settings, _ = _settings(path, steps)
    return CompareOutcome(settings.folder, write_results(settings, read_data_record(settings)), {})


def _settings(path: Path, steps: int | None) -> tuple[CompareSettings, str]:
    """Return the settings, and the text of a file that says the same, for the units and for the record."""
    values, where = read_based_yaml(path), f'comparison "{path}"'
    settings = check_compare(values, where)
    if steps is not None:
        if steps < 1:
            raise ConfigError(f"steps is {steps}; at least 1 was expected.")
        folder = settings.folder.with_name(f"{settings.folder.name}-{steps}-steps")
        values |= {"training": {**values["training"], "steps": steps}, "folder": str(folder)}
        settings = check_compare(values, where)
    return settings, yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _forget(settings: CompareSettings) -> None:
    for name in ("units", "data"):
        try:
            if (settings.folder / name).is_dir():
                shutil.rmtree(settings.folder / name)
        except OSError as error:
            raise OutputError(f'"{settings.folder / name}" cannot be deleted: {error.strerror}.') from error


def _check(settings: CompareSettings, on_event: OnEvent) -> dict[str, Any]:
    """Build every objective once, so that what is wrong is said now; return the record of the data and keep it."""
    teacher = load_teacher(settings)
    student = build_student(settings, settings.seeds[0])
    for name in settings.methods:
        try:
            make_objective(settings, name, settings.seeds[0], student, teacher)
        except ConfigError as error:
            raise ConfigError(f'Method "{name}": {error.message}', error.remedy) from error
    _check_sizes(settings, {"student": student.divisor, "teacher": teacher.divisor})
    paths = tap_paths(teacher, "teacher")
    image = torch.zeros(1, len(settings.patch.windows), *settings.patch.size)
    key = fingerprint(data_key(settings, teacher_sha256(settings.teacher)))
    record: dict[str, Any] = {"key": key, "channels": probe_channels(teacher, paths, image, "teacher")}
    if not settings.auxiliary:
        record["channels"]["out"] = len(settings.learned()) + 1
    record["alias"] = distinct_taps(paths)
    record["teacher"] = {
        "parameters": sum(parameter.numel() for parameter in teacher.parameters()),
        "sha256": teacher_sha256(settings.teacher),
    }
    _keep_record(settings, record, on_event)
    return record


def _check_sizes(settings: CompareSettings, divisors: dict[str, int]) -> None:
    """Raise ``ConfigError`` unless patches and context fit both networks."""
    size = settings.patch.size
    for who, divisor in divisors.items():
        if any(n % divisor for n in size):
            raise ConfigError(f"patch.size is {size}; multiples of {divisor} were expected for the {who}.")
        for part in ("train", "validation"):
            context = getattr(settings, part).context
            if context % divisor:
                raise ConfigError(f"{part}.context is {context}; a multiple of {divisor} was expected for the {who}.")


def _keep_record(settings: CompareSettings, record: dict[str, Any], on_event: OnEvent) -> None:
    path = settings.folder / "data" / DATA_RECORD
    old: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        old = json.loads(path.read_text(encoding="utf-8"))
    if old and old.get("key") != record["key"]:
        raise ConfigError(
            f'"{settings.folder}" holds data made with other settings or another teacher.',
            "Choose another folder, or start anew with --fresh.",
        )
    write_json(path, record)


def _score_teacher(settings: CompareSettings) -> None:
    """Score the teacher on the test scans, once: what the students could reach."""
    path = settings.folder / "data" / TEACHER_SCORES
    if not path.is_file():
        write_json(path, score(settings, load_teacher(settings), settings.channel_groups()))


def _missing(settings: CompareSettings, units: list[Unit], data: str) -> list[Unit]:
    """Return the units without a result; refuse results of other settings."""
    missing, initial = [], initial_sha256(settings)
    for name, seed in units:
        folder, key = settings.unit_folder(name, seed), unit_key(settings, name, seed, data, initial)
        result = folder / RESULT
        known = result if result.is_file() else folder / "key.json"
        if known.is_file():
            found = json.loads(known.read_text(encoding="utf-8"))
            if (found["key"] if known == result else found) != key:
                raise ConfigError(
                    f'"{folder}" was trained with other settings.',
                    f'Give the method another name than "{name}", choose another folder, or start anew with --fresh.',
                )
        if not result.is_file():
            write_json(folder / "key.json", key)
            missing.append((name, seed))
    return missing


def _train(
    settings: CompareSettings,
    config: Path,
    units: list[Unit],
    jobs: int,
    on_event: OnEvent,
    cancel: CancelToken | None,
) -> dict[str, dict[str, str]]:
    """Run the units, ``jobs`` at a time, and return the errors of those that failed."""
    waiting, running = list(units), dict[Unit, subprocess.Popen[bytes]]()
    failed: dict[str, dict[str, str]] = {}
    meter = _Meter(settings, units, on_event)
    try:
        while waiting or running:
            if cancel is not None:
                cancel.check()
            while waiting and len(running) < jobs:
                unit = waiting.pop(0)
                running[unit] = _start(settings, config, unit)
            time.sleep(_POLL_S)
            for unit in [unit for unit, process in running.items() if process.poll() is not None]:
                error = _error_of(settings, unit, running.pop(unit).returncode)
                if error:
                    failed[f"{unit[0]}, seed {unit[1]}"] = error
                    on_event(Warn(f"{unit[0]}, seed {unit[1]} failed: {error['message']} {error['remedy']}".strip()))
            meter.show(list(running), len(units) - len(waiting) - len(running))
    finally:
        _stop(list(running.values()))
    return failed


def _start(settings: CompareSettings, config: Path, unit: Unit) -> subprocess.Popen[bytes]:
    name, seed = unit
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    paths = [str(Path(hlfd.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "hlfd.compare.unit", str(config), name, str(seed)]
    with _log_file(settings, unit).open("wb") as log:
        # In its own session a Ctrl-C reaches it once, by way of this process.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _log_file(settings: CompareSettings, unit: Unit) -> Path:
    return settings.unit_folder(*unit) / "unit.log"


def _error_of(settings: CompareSettings, unit: Unit, code: int) -> dict[str, str] | None:
    """Return the error of a unit that ended, or None if its result is there."""
    if code == 0 and (settings.unit_folder(*unit) / RESULT).is_file():
        return None
    log = _log_file(settings, unit)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    with contextlib.suppress(ValueError):
        error = json.loads(lines[-1])
        if isinstance(error, dict) and "message" in error:
            return {"code": str(error.get("code")), "message": error["message"], "remedy": str(error.get("remedy", ""))}
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    message = f"Its process {how}: {lines[-1][:200]}".rstrip(": ") + "."
    return {"code": "internal", "message": message, "remedy": f'See "{log}"; run again to resume.'}


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to stop, which write a checkpoint first, and end those that do not in time."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(limit - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Meter:
    """Progress over all units, from the logs of the running ones."""

    def __init__(self, settings: CompareSettings, units: list[Unit], on_event: OnEvent) -> None:
        self._settings, self._total, self._on_event = settings, len(units), on_event
        self._begin, self._first = time.monotonic(), sum(self._share(unit) for unit in units)
        self._shown = -1.0

    def show(self, running: list[Unit], done: int) -> None:
        """Tell how far the units are, where it changed."""
        value = done + sum(self._share(unit) for unit in running)
        if value == self._shown:
            return
        self._shown, gained = value, value - self._first
        left = (time.monotonic() - self._begin) / gained * (self._total - value) if gained > 0 else None
        self._on_event(Progress(round(value, 3), self._total, left))

    def _share(self, unit: Unit) -> float:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            log = self._settings.unit_folder(*unit) / "metrics.jsonl"
            last = log.read_text(encoding="utf-8").strip().splitlines()[-1]
            return min(float(json.loads(last)["step"]) / self._settings.training.steps, 1.0) * 0.95
        return 0.0
