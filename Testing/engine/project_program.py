"""Adds cases to the project in FOLDER, or corrects one, in a new process for every line on stdin.

A line is ``add SEED`` or ``update ID SEED``, with ``@ SECONDS`` the process is killed after that time. Writes the exit
code and the seconds that it took.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from hlfd.project import Project
from hlfd.project.thumbnail import write_thumbnail
from hlfd.volume import LabelMap, Volume

SHAPE = (40, 96, 96)
AFFINE = np.diag([1.5, 1.5, 3.0, 1.0])


def make_pair(seed: int) -> tuple[Volume, LabelMap]:
    """Return a noisy block of tissue in air with a kidney and a tumor, another one for every seed."""
    values = np.full(SHAPE, -1000)
    values[:, 20:80, 20:80] = 40
    noise = np.random.default_rng(seed).normal(0, 10, SHAPE)
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:30, 30:50, 30:50] = 1
    labels[15:20, 35:40, 35 : 40 + seed % 9] = 2
    return Volume((values + noise).round().clip(-1024).astype(np.int16), AFFINE), LabelMap(labels, AFFINE)


def work(folder: Path, line: str) -> None:
    """Do what a line says."""
    project = Project.open(folder)
    what, *rest = line.split()
    if what == "add":
        project.add(*make_pair(int(rest[0])), rest[0])
    else:
        project.update(rest[0], make_pair(int(rest[1]))[1])


def main(folder: Path) -> None:
    volume, labels = make_pair(0)
    write_thumbnail(volume, labels.array, (), folder / "warm.png")  # imports what is slow to import, once for all
    (folder / "warm.png").unlink()
    for line in sys.stdin:
        task, _, delay = line.partition("@")
        begin = time.monotonic()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(folder, task)
                code = 0
            finally:
                os._exit(code)
        if delay:
            time.sleep(float(delay))
            os.kill(pid, signal.SIGKILL)  # it is not waited for yet, so the id is its own
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
