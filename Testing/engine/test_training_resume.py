"""Runs killed by SIGKILL at any moment, also while a checkpoint is written, end with the weights of an unbroken run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import random, sys
import numpy, torch
from hlfd.events import Progress
from hlfd.networks import build_network
from hlfd.training import Supervised, TrainSettings, fit
from hlfd.training.validation import PatchValidator

class Source:
    def sample(self, index):
        image = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(index))
        return {"image": image, "label": (image[0] > 0.5).to(torch.uint8)}

class Noisy(Supervised):
    # Draws from all three generators, whose states a resumed run must continue.
    def __call__(self, network, batch):
        noise = torch.randn_like(batch["image"]) * random.random() * numpy.random.rand()
        return super().__call__(network, {**batch, "image": batch["image"] + noise})

def report(event):
    if isinstance(event, Progress):
        print(int(event.done), flush=True)

torch.manual_seed(0)
settings = TrainSettings(steps=40, batch_size=2, warmup_steps=5, precision="float32", device="cpu", log_every=3,
                         validate_every=10, checkpoint_every=int(sys.argv[2]), workers=int(sys.argv[3]),
                         tensorboard=False)
fit(build_network("s2d_unet", classes=2, widths=(4, 6)), Noisy(), Source(), settings, sys.argv[1],
    validate=PatchValidator([Source().sample(-1 - i) for i in range(2)], ["background", "bright"]), on_event=report)
"""


def start(folder: Path, checkpoint_every: int, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(checkpoint_every), str(workers)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def run(folder: Path, checkpoint_every: int, workers: int, kill_at: int | None = None) -> list[int]:
    """Run the program, kill it once it has finished step ``kill_at``, and return the steps that it made."""
    steps = []
    with start(folder, checkpoint_every, workers) as process:
        for line in process.stdout:
            steps.append(int(line))
            if kill_at is not None and steps[-1] >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.stdout.read()
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)
    return steps


def outcome(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "last.safetensors").read_bytes(), (folder / "best.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("unbroken")
    assert run(folder, 7, 0) == list(range(1, 41))
    return outcome(folder)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is needed")
def test_a_run_killed_twice_ends_with_the_weights_of_an_unbroken_run(tmp_path, unbroken):
    # With a checkpoint in every step most kills fall into the writing of one.
    first = run(tmp_path, 1, 0, kill_at=random.randint(2, 20))
    second = run(tmp_path, 1, 0, kill_at=random.randint(25, 38))
    assert first[-1] <= second[0] <= first[-1] + 2
    assert run(tmp_path, 1, 0)[-1] == 40
    assert outcome(tmp_path) == unbroken
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("moment", range(10))
def test_every_moment_of_a_kill_is_survived(tmp_path, unbroken, moment, workers):
    run(tmp_path, 1 + moment % 4, workers, kill_at=random.Random(moment).randint(1, 39))
    run(tmp_path, 1 + moment % 4, workers)
    assert outcome(tmp_path) == unbroken
