#!/usr/bin/env python
"""Measures a training step in one process and in two that share its batch, on this machine; prints a table as JSON.

    python scripts/measure_scaling.py [--repeats 5] [--steps 12]

Each repeat runs every variant once, in turn, so that other load on the machine meets them alike. Of all steps of a
variant the shortest counts, and the least processor time per step of all its processes together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS = {  # name: (processes, threads of each)
    "one process, one thread": (1, 1),
    "one process, two threads": (1, 2),
    "two processes, one thread each": (2, 1),
}
BATCH, SIZE, CLASSES = 4, 48, 14


def train(steps: int) -> None:
    """Train the network of the shipped models on noise; the main process prints seconds and processor seconds."""
    import torch

    from hlfd.events import Event, Progress
    from hlfd.networks import build_network
    from hlfd.training import Supervised, TrainSettings, fit

    class Noise:
        def sample(self, index: int) -> dict[str, torch.Tensor]:
            generator = torch.Generator().manual_seed(index % 8)
            image = torch.randn(2, SIZE, SIZE, SIZE, generator=generator)
            return {"image": image, "label": (image[0] * 3).abs().clamp(max=CLASSES - 1).to(torch.uint8)}

    times = []

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            times.append((time.perf_counter(), time.process_time()))

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    settings = TrainSettings(
        steps=steps, batch_size=BATCH, precision="float32", device="cpu", checkpoint_every=0, log_every=1000,
        validate_every=0, tensorboard=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fit(build_network("s2d_unet", in_channels=2, classes=CLASSES), Supervised(), Noise(), settings, Path(folder),
            on_event=note)  # fmt: skip
    if times:
        pairs = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(times, times[1:])]
        print(json.dumps({"seconds": min(p[0] for p in pairs), "cpu": min(p[1] for p in pairs)}), flush=True)


def measure(processes: int, threads: int, steps: int) -> dict[str, float]:
    """Run one variant once."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), __file__, "--train", "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    result: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return {**result, "cpu": result["cpu"] * processes}


def main() -> None:
    """Measure all variants in turns and print the best of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        return train(args.steps)
    best: dict[str, dict[str, float]] = {}
    for _ in range(args.repeats):
        for name, (processes, threads) in VARIANTS.items():
            found = measure(processes, threads, args.steps)
            best[name] = {key: min(value, best.get(name, found)[key]) for key, value in found.items()}
    print(json.dumps({"load": os.getloadavg(), "batch": BATCH, "patch": SIZE, "best": best}, indent=1))
    return None


if __name__ == "__main__":
    main()
