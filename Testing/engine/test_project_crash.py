"""Whatever is killed, and however full the disk is: no case is lost, and none is there by half."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hlfd.errors import DiskFullError
from hlfd.io import read_label_map, read_volume
from hlfd.models.package import file_sha256, load_package
from hlfd.project import Project
from hlfd.project.checks import voxel_checksum
from Testing.engine.project_program import make_pair

PROGRAM = Path(__file__).with_name("project_program.py")
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")


@pytest.fixture
def project(tmp_path, models_folder):
    return Project.create(tmp_path / "project", load_package(models_folder / "exact" / "1.0.0"))


class Worker:
    """A process that forks a child for every task."""

    def __init__(self, folder):
        command = [sys.executable, str(PROGRAM), str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)

    def do(self, line):
        """Return the exit code and the seconds that it took."""
        self.process.stdin.write(line + "\n")
        code, seconds = self.process.stdout.readline().split()
        return int(code), float(seconds)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture
def worker(project):
    made = Worker(project.folder)
    yield made
    made.close()


def check_whole(folder):
    """Return the cases of a project after checking every file of every case against its checksum."""
    project = Project.open(folder)
    assert project.problems == {}
    for case in project.cases:
        assert case.checksums["image"] == file_sha256(case.image)
        assert case.checksums["label"] == file_sha256(case.label)
        assert case.checksums["voxels"] == voxel_checksum(read_volume(case.image))
        counts = np.bincount(read_label_map(case.label).array.ravel(), minlength=3)
        assert case.volumes_ml["kidney tumor"] == pytest.approx(counts[2] * 1.5 * 1.5 * 3.0 / 1000)
        assert case.thumbnail.stat().st_size > 0
    assert list((folder / "cases").glob(".adding-*")) == []
    return project.cases


@posix_only
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_loses_nothing(project, worker, kills):
    assert worker.do("add 0")[0] == 0
    code, usual = worker.do("add 1")
    assert code == 0
    rng = np.random.default_rng(kills)
    killed = 0
    for n in range(kills):
        before = check_whole(project.folder)
        what = f"add {n + 2}" if n % 3 else f"update case-0001 {n + 2}"
        code, _ = worker.do(f"{what} @ {usual * rng.random():.4f}")
        killed += code == -signal.SIGKILL
        after = check_whole(project.folder)
        assert [case.id for case in after][: len(before)] == [case.id for case in before]
        assert len(after) - len(before) <= (1 if n % 3 else 0)
    assert killed > 0
    assert worker.do("add 1000")[0] == 0
    assert len(check_whole(project.folder)) == len(after) + 1


def make_full_disk(folder: Path, size_kb: int) -> None:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")


@posix_only
@pytest.mark.parametrize("spare", ["before", "meanwhile"])
def test_a_full_disk_leaves_what_was_there(tmp_path, models_folder, monkeypatch, spare):
    disk = tmp_path / "disk"
    make_full_disk(disk, 2000)
    try:
        project = Project.create(disk / "project", load_package(models_folder / "exact" / "1.0.0"))
        spare_bytes = {"before": 1 << 12, "meanwhile": -(1 << 30)}[spare]  # the second one looks as if there were room
        monkeypatch.setattr("hlfd.project.store._SPARE_BYTES", spare_bytes)
        project.add(*make_pair(1))
        with pytest.raises(DiskFullError):
            add_many(project)
        cases = check_whole(project.folder)
        assert cases == project.cases
        assert len(cases) >= 1
        fill(disk / "filler")
        with pytest.raises(DiskFullError):
            project.update("case-0001", make_pair(5)[1])
        assert check_whole(project.folder) == cases
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def add_many(project):
    for seed in range(2, 9):
        project.add(*make_pair(seed))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass


@posix_only
def test_what_a_killed_process_began_is_swept_and_what_a_living_one_does_is_not(project):
    cases = project.folder / "cases"
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    (cases / f".adding-{done.pid}-0a").mkdir(parents=True)
    (cases / f".adding-{done.pid}-0a" / "image.nii").write_bytes(b"half")
    (cases / f".adding-{os.getpid()}-0b").mkdir()
    Project.open(project.folder)
    assert [path.name for path in cases.iterdir()] == [f".adding-{os.getpid()}-0b"]


def test_a_hundred_cases_open_quickly(project):
    project.add(*make_pair(1))
    text = (project.folder / "cases" / "case-0001" / "case.json").read_text()
    for number in range(2, 101):
        folder = project.folder / "cases" / f"case-{number:04d}"
        folder.mkdir()
        (folder / "case.json").write_text(text.replace("case-0001", folder.name))
        for name in ("image.nii", "label.nii.gz"):
            (folder / name).touch()
    begin = time.process_time()
    assert len(Project.open(project.folder).cases) == 100
    assert time.process_time() - begin < 2
