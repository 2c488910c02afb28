"""A run that is killed at any moment, or runs out of disk, loses neither a case nor an earlier model, and goes on."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from hlfd.models.package import file_sha256, load_package
from hlfd.project import Project
from hlfd.runs import Run, State, start_run
from hlfd.runs.files import read_object
from Testing.tiny_training import QUICK, training_place, wait_for, wait_for_end

KILLS = 20
PATIENCE_S = 1200.0  # a run gives way to everything else on the machine
SETTINGS = replace(QUICK, steps=200)
MOMENTS = ("any", "training", "checkpoint", "outcome")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with training_place(tmp_path_factory.mktemp("crash")) as root:
        yield root


def what_must_stay(place: Path) -> dict[str, str]:
    """Return the checksums of all cases and of the model, read through what a user would read them with."""
    assert len(Project.open(place / "project").cases) == 3
    load_package(place / "models" / "tiny" / "1.0.0")
    roots = (place / "project" / "cases", place / "models")
    return {str(path): file_sha256(path) for root in roots for path in sorted(root.rglob("*")) if path.is_file()}


def weights_of(run: Run) -> str:
    return file_sha256(Path(run.result()["package"]) / "refiner.safetensors")


def came_to(run: Run, moment: str) -> Callable[[], bool]:
    """Return what tells that a run is where it shall be killed, or at rest."""
    work = run.files.work

    def there() -> bool:
        if not run.state.active:
            return True
        if moment == "training":
            return (work / "run" / "metrics.jsonl").is_file()
        if moment == "checkpoint":
            return any(name.startswith(".checkpoint") for name in _names(work / "run"))
        return moment == "any" or (work / "package").is_dir()

    return there


def _names(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def kill(run: Run, rng: random.Random, moment: str) -> bool:
    """Kill the process of a run at a moment; return whether it still worked."""
    wait_for(run, lambda: run.state is not State.STARTING, PATIENCE_S)
    wait_for(run, came_to(run, moment), PATIENCE_S)
    time.sleep(rng.uniform(0, 4.0 if moment == "any" else 0.05))
    note = read_object(run.files.state)
    if not run.state.active:
        return False
    os.kill(int(note["pid"]), signal.SIGKILL)
    wait_for_end(run)
    return True


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is needed")
def test_a_run_killed_twenty_times_loses_nothing_and_ends_as_an_unbroken_one(place):
    unbroken = start_run(place / "project", SETTINGS)
    wait_for_end(unbroken, PATIENCE_S)
    assert unbroken.state is State.FINISHED, unbroken.log_tail()
    before, rng = what_must_stay(place), random.Random(time.time_ns())
    run = start_run(place / "project", SETTINGS)
    done, last_step = 0, 0
    while done < KILLS:
        done += kill(run, rng, MOMENTS[done % len(MOMENTS)])
        assert what_must_stay(place) == before
        if run.state is State.FINISHED:  # there was nothing left to kill: begin another one
            assert weights_of(run) == weights_of(unbroken)
            run = start_run(place / "project", SETTINGS)
        else:
            run.resume()
            last_step = max(last_step, step_of(run))
    wait_for_end(run, PATIENCE_S)
    assert run.state is State.FINISHED, f"{run.error} {run.log_tail()}"
    assert last_step > 0
    assert weights_of(run) == weights_of(unbroken)
    assert not list(run.folder.rglob(".*.tmp"))


def step_of(run: Run) -> int:
    """Return the step of the last checkpoint."""
    from hlfd.checkpoint import load_state

    path = run.files.work / "run" / "checkpoint.pt"
    return int(load_state(path)["position"]["step"]) if path.is_file() else 0


def fill_disk(path: Path) -> None:
    """Write a file until nothing more fits."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory with 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system in memory cannot be mounted here (this needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_after_space_is_freed_the_run_goes_on(place, small_disk):
    shutil.copytree(place / "project" / "cases", small_disk / "project" / "cases")
    shutil.copy(place / "project" / "project.json", small_disk / "project")
    run = start_run(small_disk / "project", replace(QUICK, steps=2000))
    wait_for(run, lambda: (run.files.work / "run" / "metrics.jsonl").is_file() or not run.state.active)
    ballast = small_disk / "ballast"
    fill_disk(ballast)
    wait_for_end(run)
    assert run.state is State.FAILED
    assert run.error.code == "disk_full"
    assert "Free some space" in run.error.remedy
    assert len(Project.open(small_disk / "project").cases) == 3
    ballast.unlink()
    run.resume()
    wait_for(run, lambda: run.state is State.RUNNING or not run.state.active)
    assert run.state is State.RUNNING
    run.cancel()
    wait_for_end(run)
    assert run.state is State.CANCELLED
