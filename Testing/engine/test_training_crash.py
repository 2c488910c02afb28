"""Distillation that is killed at any moment, or runs out of disk, loses nothing: it ends as an unbroken run."""

from __future__ import annotations

import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hlfd.checkpoint import load_state
from hlfd.errors import DiskFullError

PROGRAM = Path(__file__).with_name("crash_program.py")
KILLS = 20


def start(folder: Path) -> subprocess.Popen[str]:
    """Start the program, which forks a trainer for every line that it reads, so that torch is imported once."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder)], text=True, env=environment, **streams)


class Trainers:
    """Trainers of one folder, one after the other; each goes on where the last one was killed."""

    def __init__(self, program: subprocess.Popen[str], folder: Path) -> None:
        self.program, self.folder, self.resumed = program, folder, []

    def _start(self) -> int:
        print("start", file=self.program.stdin, flush=True)
        return int(self.program.stdout.readline().split()[1])

    def _read(self) -> list[str]:
        return self.program.stdout.readline().split()

    def kill_after(self, steps: int, while_writing: bool, delay: float) -> None:
        """Let a trainer make ``steps`` steps and kill it ``delay`` seconds later, or while it writes a checkpoint."""
        pid, first = self._start(), None
        while True:
            word, value = self._read()
            if word == "end":
                pytest.fail("The trainer finished before it was killed.")
            first = first or int(value)
            if int(value) >= first + steps - 1:
                break
        if while_writing:
            wait_for_temporary(self.folder)
        else:
            time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        self.resumed.append(first)
        while self._read()[0] != "end":
            pass

    def finish(self) -> str:
        """Let a trainer run to its end and return its exit code."""
        self._start()
        while True:
            word, value = self._read()
            if word == "end":
                return value


def wait_for_temporary(folder: Path) -> None:
    """Return as soon as the temporary file of a checkpoint is there (or after a second)."""
    limit = time.monotonic() + 1.0
    while time.monotonic() < limit and not any(name.startswith(".checkpoint") for name in os.listdir(folder)):
        pass


def outcome(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("last.safetensors", "best.safetensors")}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork are needed")
def test_distillation_killed_twenty_times_ends_with_the_weights_of_an_unbroken_run(tmp_path):
    rng = random.Random(time.time_ns())
    with start(tmp_path / "unbroken") as program:
        assert Trainers(program, tmp_path / "unbroken").finish() == "0"
        program.stdin.close()
    in_writing = 0
    with start(tmp_path / "killed") as program:
        trainers = Trainers(program, tmp_path / "killed")
        for kill in range(KILLS):
            trainers.kill_after(rng.randint(1, 3), while_writing=kill % 2 == 0, delay=rng.uniform(0, 0.05))
            in_writing += any(name.startswith(".checkpoint") for name in os.listdir(tmp_path / "killed"))
        assert trainers.finish() == "0"
        program.stdin.close()
    assert in_writing >= KILLS // 4  # killed with a half-written checkpoint
    assert trainers.resumed == sorted(trainers.resumed)
    assert trainers.resumed[-1] > KILLS // 2  # the run went on, and did not begin anew
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "unbroken")
    assert not list((tmp_path / "killed").glob(".*.tmp"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory with 1.5 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system in memory cannot be mounted here (this needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_after_space_is_freed_the_run_ends_as_if_unbroken(tmp_path, small_disk):
    train = runpy.run_path(str(PROGRAM))["train"]
    train(tmp_path / "unbroken")
    ballast = small_disk / "ballast"

    def fill_at_step(step: int) -> None:
        if step == 10:
            free = shutil.disk_usage(small_disk).free
            ballast.write_bytes(b"0" * (free - 50_000))

    with pytest.raises(DiskFullError, match=r"No space is left to write .*checkpoint.*Free some space"):
        train(small_disk / "run", fill_at_step)
    assert load_state(small_disk / "run" / "checkpoint.pt")["position"]["step"] == 10
    assert not list((small_disk / "run").glob(".*.tmp"))
    ballast.unlink()
    train(small_disk / "run")
    assert outcome(small_disk / "run") == outcome(tmp_path / "unbroken")
