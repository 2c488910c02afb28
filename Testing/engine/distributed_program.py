"""Trains tiny networks; the tests run it in their own process and under torchrun.

torchrun ... distributed_program.py FOLDER RUN...   trains each named run in FOLDER/RUN
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hlfd.distillation import DistillSettings, build_objective
from hlfd.events import Event, Progress
from hlfd.losses import dice_ce_loss, focal_dice_loss
from hlfd.networks import SegmentationNetwork, build_network
from hlfd.training import Supervised, TrainSettings, fit
from hlfd.training.objective import Objective
from hlfd.training.validation import PatchValidator


class Balls:
    """Noisy images with a bright ball of class 1, of very different sizes."""

    def sample(self, index: int) -> dict[str, Tensor]:
        time.sleep(float(os.environ.get("DELAY", "0")))
        generator = torch.Generator().manual_seed(index)
        center = torch.randint(5, 11, (3, 1, 1, 1), generator=generator)
        radius = torch.randint(1, 7, (1,), generator=generator)
        grid = torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"))
        label = ((grid - center) ** 2).sum(0) < radius**2
        image = 2.0 * label + 0.5 * torch.randn(label.shape, generator=generator) + float(radius)
        return {"image": image[None], "label": label.to(torch.uint8)}


class Projected(nn.Module):
    """A loss with trained layers of its own, one of which is used in no step."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1)
        self.norm = nn.BatchNorm3d(2)

    def forward(self, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        logits = network(batch["image"])
        projected = (self.norm(self.used(logits)) - 0.5).square().mean()
        return logits, {"segmentation": dice_ce_loss(logits, batch["label"]), "projected": projected}


@dataclass(frozen=True)
class Run:
    """What one run varies."""

    objective: Objective
    batch: int = 4
    accumulate: int = 1
    lr: float = 2e-3


def make_network(seed: int, widths: tuple[int, ...] = (8, 16)) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network("s2d_unet", classes=2, widths=widths)


def make_run(name: str, network: SegmentationNetwork) -> Run:
    if name == "class-weights":
        return Run(Supervised(class_weights=(1.0, 4.0)))
    if name == "parts":
        return Run(Supervised(focal_dice_loss), accumulate=2)
    if name == "uneven":
        return Run(Supervised(partial(dice_ce_loss, smooth=1.0)), batch=5)
    if name == "distillation":
        names = ("hlfd", "dist", "cirkd", "mskd", "emkd", "reviewkd", "hlfd-released")
        methods = tuple({"name": name, "weight": 0.1} for name in names)
        return Run(
            build_objective(DistillSettings(methods), network, make_network(seed=1, widths=(6, 8)).eval()), batch=5
        )
    if name == "projected":
        return Run(Projected())
    return Run(Supervised())


def tell(text: str) -> None:
    """Write a line whole: the processes of a job share one pipe, and ``print`` may write its parts one by one."""
    os.write(1, f"{text}\n".encode())


def report(event: Event) -> None:
    if isinstance(event, Progress):
        tell(f"step {int(event.done)}")


def train(folder: Path, name: str) -> None:
    network = make_network(seed=0)
    run = make_run(name, network)
    settings = TrainSettings(
        steps=12, batch_size=run.batch, accumulate=run.accumulate, lr=run.lr, warmup_steps=2,
        precision="float32", device="cpu", log_every=1, validate_every=6, checkpoint_every=3, tensorboard=False,
    )  # fmt: skip
    validator = PatchValidator([Balls().sample(10_000 + i) for i in range(2)], ["background", "ball"])
    fit(network, run.objective, Balls(), settings, folder / name, validator, on_event=report)


if __name__ == "__main__":
    tell(f"rank {os.environ.get('RANK', '0')} pid {os.getpid()}")
    for name in sys.argv[2:]:
        train(Path(sys.argv[1]), name)
