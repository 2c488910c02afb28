"""Trains a tiny student of a tiny teacher in FOLDER, in a new process for every line on stdin.

Writes ``start PID``, ``step N`` after each step, and ``end EXIT_CODE``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from hlfd.distillation import DistillSettings, build_objective
from hlfd.events import Event, Progress
from hlfd.networks import SegmentationNetwork, build_network
from hlfd.training import TrainSettings, fit
from hlfd.training.validation import PatchValidator


class Noise:
    """Noisy patches whose bright voxels are labelled."""

    def sample(self, index: int) -> dict[str, torch.Tensor]:
        image = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(index))
        return {"image": image, "label": (image[0] > 0.5).to(torch.uint8)}


def make_network(seed: int, widths: tuple[int, ...]) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network("s2d_unet", classes=2, widths=widths)


def train(folder: Path, on_step: Callable[[int], None] = lambda step: None) -> None:
    def report(event: Event) -> None:
        if isinstance(event, Progress):
            on_step(int(event.done))

    torch.set_num_threads(1)
    student = make_network(0, (4, 6))
    objective = build_objective(DistillSettings(("hlfd", "hlfd-released", "cwd")), student, make_network(1, (6, 8)))
    settings = TrainSettings(
        steps=60, batch_size=2, warmup_steps=5, precision="float32", device="cpu", log_every=3, validate_every=10,
        checkpoint_every=1, tensorboard=False,
    )  # fmt: skip
    validator = PatchValidator([Noise().sample(1000 + i) for i in range(2)], ["background", "bright"])
    fit(student, objective, Noise(), settings, folder, validator, on_event=report)


def main(folder: Path) -> None:
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports much, once for all
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            print("start", os.getpid(), flush=True)
            train(folder, lambda step: print("step", step, flush=True))
            os._exit(0)
        print("end", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
