"""The worker's parts: finding jobs, keeping models, telling errors apart, probing the machine."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import (
    CancelledError,
    ConfigError,
    GeometryError,
    GpuOutOfMemoryError,
    MissingDependencyError,
    ModelError,
    TorchBrokenError,
)
from hlfd.events import Metric, Progress, Stage, Warn, event_to_dict
from hlfd.jobs.files import sweep
from hlfd.jobs.process import child_environment, is_running, python_command
from hlfd.jobs.protocol import decode, encode, error_from_dict, error_to_dict, event_from
from hlfd.worker import job_probe
from hlfd.worker.classify import classify
from hlfd.worker.context import JobContext
from hlfd.worker.job_probe import read_gpu
from hlfd.worker.job_segment import easier
from hlfd.worker.registry import find_job, kinds
from hlfd.worker.warm import Warm

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("event", [Stage("refine"), Progress(1, 4, None), Metric(2, {"dice": 0.5}), Warn("größer")])
def test_an_event_comes_back_from_its_line(event):
    message = decode(encode({**event_to_dict(event), "job": "1"}))
    assert event_from(message) == event


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"plain text\n", b"@hlfd \n", b"@hlfd {\n", b"@hlfd [1]\n", b"\xff\xfe@hlfd {}\n"]
)
def test_other_lines_are_no_message(line):
    assert decode(line) is None


def test_an_event_that_lacks_a_field_is_none():
    assert event_from({"event": "progress", "done": 1}) is None
    assert event_from({"event": "unknown"}) is None


def test_an_error_comes_back_with_class_message_and_remedy():
    error = error_from_dict(error_to_dict(GeometryError("The affine is odd.", "Resample.")))
    assert isinstance(error, GeometryError)
    assert (error.message, error.remedy) == ("The affine is odd.", "Resample.")
    assert isinstance(error_from_dict({"code": "cancelled", "message": "Stop."}), CancelledError)
    assert error_from_dict({"code": "of the future"}).code == "internal"


def test_job_kinds_are_found_by_their_files(monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "Testing"))
    assert {"probe", "segment"} <= set(kinds())
    assert "echo" not in kinds()
    assert "echo" in kinds(["worker_jobs"])
    assert find_job("echo", ["worker_jobs"]).__module__ == "worker_jobs.job_echo"


@pytest.mark.parametrize("kind", ["segmnt", "../segment", "os", "", "job_segment"])
def test_an_unknown_job_kind_is_refused(kind):
    with pytest.raises(ConfigError, match="Unknown job"):
        find_job(kind)


def test_what_was_used_last_stays_warm():
    warm, made = Warm(kept=2), []

    def make(name):
        return lambda: made.append(name) or name

    for name in ("a", "b", "a", "c", "a", "b"):
        assert warm.get(name, make(name)) == name
    assert made == ["a", "b", "c", "b"]


def test_what_could_not_be_made_is_not_kept():
    warm = Warm()
    with pytest.raises(ZeroDivisionError):
        warm.get("a", lambda: 1 // 0)
    assert warm.get("a", lambda: 5) == 5


def test_only_what_lies_on_the_gpu_is_given_back():
    warm, made = Warm(), []
    for device in ("cpu", "cuda:0"):
        warm.get(device, lambda device=device: SimpleNamespace(device=device))
    warm.release_gpu()
    for device in ("cpu", "cuda:0"):
        warm.get(device, lambda device=device: made.append(device))
    assert made == ["cuda:0"]


class OutOfMemoryError(RuntimeError):
    """Named like the one of torch, which is not imported here."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GeometryError("It is odd."), "bad_geometry"),
        (KeyboardInterrupt(), "cancelled"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("std::bad_alloc"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (OutOfMemoryError("Tried to allocate 2 GiB"), "gpu_out_of_memory"),
        (RuntimeError("CUDA error: out of memory"), "gpu_out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "output_failed"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "torch_missing"),
        (ModuleNotFoundError("No module named 'openvino'", name="openvino"), "dependency_missing"),
        (ValueError("anything"), "internal"),
    ],
)
def test_every_exception_has_a_code_and_a_remedy(error, code):
    known = classify(error)
    assert known.code == code
    assert known.message.endswith(".")
    assert known is error or known.remedy or code == "cancelled"


def test_a_lack_of_memory_that_looks_like_a_damaged_model_is_called_what_it_is():
    error = ModelError("OpenVINO cannot use the model.", "Import the package again.")
    error.__cause__ = RuntimeError("Exception from plugin.cpp:54: std::bad_alloc")
    assert classify(error).code == "out_of_memory"
    missing = MissingDependencyError("openvino is not installed.")
    missing.__cause__ = ImportError("libopenvino.so: failed to map segment from shared object")
    assert classify(missing).code == "out_of_memory"


def test_a_torch_that_cannot_be_loaded_is_told_from_a_missing_one(tmp_path, monkeypatch):
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise OSError('libcudnn.so.9: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(OSError, match="libcudnn") as caught:
        __import__("torch")
    known = classify(caught.value)
    assert known.code == "torch_broken"
    assert "libcudnn.so.9" in known.message
    assert "choose the device CPU" in known.remedy


def test_a_full_gpu_asks_for_smaller_blocks_then_for_the_cpu():
    settings, said = easier(GpuOutOfMemoryError("full"), SegmentSettings())
    assert (settings.device, settings.memory_mb) == ("auto", 300)
    assert "smaller blocks" in said
    settings, said = easier(GpuOutOfMemoryError("full"), settings)
    assert (settings.device, settings.backend) == ("cpu", "auto")
    assert "CPU was used" in said
    assert easier(GpuOutOfMemoryError("full"), settings) is None


def test_a_broken_torch_is_no_hindrance_unless_the_gpu_was_asked_for():
    settings, said = easier(TorchBrokenError("broken"), SegmentSettings())
    assert settings.device == "cpu"
    assert "cannot be loaded" in said
    assert easier(TorchBrokenError("broken"), SegmentSettings(device="cuda")) is None


def test_the_probe_tells_devices_versions_and_the_choice(tmp_path):
    answer = job_probe.run(JobContext(tmp_path, {"settings": {"model": "kidney", "device": "cpu"}}, {}))
    cpu = answer["devices"][0]
    assert (cpu["id"], cpu["usable"]) == ("cpu", True)
    assert cpu["name"]
    assert answer["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(answer["packages"]) >= {"openvino", "torch", "numpy"}
    assert answer["chosen"]["device"] == "cpu"
    assert answer["chosen"]["backend"] in ("openvino", "torch")
    assert answer["torch"] == {"imported": False, "cuda": None, "problem": None}


def test_the_probe_says_why_a_choice_is_impossible(tmp_path):
    answer = job_probe.run(JobContext(tmp_path, {"settings": {"model": "no-such-model"}}, {}))
    assert answer["chosen"]["code"] == "model_corrupt"
    assert "no-such-model" in answer["chosen"]["problem"]


def test_gpus_are_read_from_the_drivers_table():
    assert read_gpu("1, NVIDIA H200, 143771, 143000, 570.86.15", True) == {
        "id": "cuda:1",
        "name": "NVIDIA H200",
        "memory_mb": 143771,
        "free_mb": 143000,
        "driver": "570.86.15",
        "usable": True,
    }
    assert read_gpu("0, Quadro, rev A, [N/A], 10, 535.1", False)["name"] == "Quadro, rev A"
    assert read_gpu("0, Quadro, rev A, [N/A], 10, 535.1", False)["memory_mb"] is None
    assert read_gpu("No devices were found", True) is None


def test_the_worker_speaks_utf8_and_finds_this_engine(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = child_environment({"HLFD_EXTRA": "1"})
    assert environment["PYTHONUTF8"] == environment["PYTHONUNBUFFERED"] == environment["HLFD_EXTRA"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(PROJECT / "HLFDSegment"), "/elsewhere"]


def test_pythonslicer_is_taken_where_it_is_on_the_path(tmp_path, monkeypatch):
    assert python_command() == [sys.executable]
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_command() == [str(launcher)]


def test_slicer_itself_is_never_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "SlicerApp-real"))
    with pytest.raises(Exception, match="No Python interpreter"):
        python_command()
    (tmp_path / "PythonSlicer").write_text("")
    assert python_command() == [str(tmp_path / "PythonSlicer")]


def test_a_process_is_known_to_live():
    assert is_running(os.getpid())
    assert not is_running(0)
    assert not is_running(2**22 - 3)


def test_foreign_folders_are_not_swept(tmp_path):
    for name in ("hlfd-jobs-notes", "hlfd-jobs-12x-y", "other"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_command_line_of_the_worker_names_what_it_needs(monkeypatch):
    from hlfd.worker.__main__ import main

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit):
        main([])
    assert "--folder" in sys.stderr.getvalue()


def test_a_worker_without_torch_is_imported_without_it():
    names = ("hlfd.worker.server", "hlfd.worker.job_segment", "hlfd.worker.job_probe")
    code = f"import sys, {', '.join(names)}; print(sorted({{'torch', 'monai', 'openvino'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment(), check=True
    )
    assert done.stdout.strip() == "[]"
