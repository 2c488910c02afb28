#!/usr/bin/env python
"""Measures feature maps of a layer pair against segmentation of the same volume, both warm in one process; prints JSON.

    python scripts/measure_features.py [--repeats 5] [--threads 2] [--pairs d2 e3] [--all]

The pair is what the panel shows first: the part around the tumor (``hlfd.viewer.GLANCE``). The model is the one that
ships, with a larger teacher than its own (``dynunet_small``) and a second student beside it, both untrained: their cost
is that of trained ones. The volume is the simulated scan of ``hlfd bench`` (512 x 512 x 200). Repeats take turns, so
that other load on the machine meets both alike; the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.bench.phantom import bench_scan
from hlfd.io import read_volume
from hlfd.models.package import file_sha256
from hlfd.models.registry import find
from hlfd.viewer import GLANCE, PART_MM
from hlfd.worker import job_features, job_segment
from hlfd.worker.context import JobContext
from hlfd.worker.warm import Warm

SECOND = {"teacher": "dynunet_small", "undistilled": "s2d_unet"}


def package_with_teacher(root: Path, seed: int = 0) -> Path:
    """Write the shipped model with an untrained teacher and second student to ``root/measured/VERSION``."""
    import torch

    from hlfd.checkpoint import save_weights
    from hlfd.networks import build_network, fold_batchnorm

    shipped = find("kidney")
    folder = root / "measured" / shipped.version
    shutil.copytree(shipped.folder, folder)
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    facts["name"] = "measured"
    refiner = facts["refiner"]
    for number, (role, name) in enumerate(SECOND.items()):
        torch.manual_seed(seed + number)
        parameters = {"in_channels": len(refiner["windows"]), "classes": len(refiner["classes"])}
        network = build_network(name, **parameters)
        save_weights(fold_batchnorm(network.eval()), folder / f"{role}.safetensors", half=True)
        same = {key: refiner[key] for key in ("spacing_mm", "windows", "classes")}
        own = {"network": name, "parameters": parameters, "weights": f"{role}.safetensors", "openvino": None}
        facts[role] = {**same, **own, "divisor": network.divisor, "taps": dict(network.taps)}
    files = sorted(path for path in folder.iterdir() if path.name != "model.json")
    facts["sha256"] = {path.name: file_sha256(path) for path in files}
    (folder / "model.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


class Measured:
    """Runs jobs as the worker does, with what stays loaded, and times them."""

    def __init__(self, folder: Path, root: Path, threads: int) -> None:
        self.volume = read_volume(bench_scan())
        self._settings = {"model": str(folder), "device": "cpu", "threads": threads}
        self._root, self._warm, self._count = root, Warm(), 0
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}

    def run(self, name: str, job: Any, **arguments: Any) -> dict[str, Any]:
        """Run a job and keep the shortest times under ``name``."""
        self._count += 1
        folder = self._root / f"job{self._count}"
        folder.mkdir()
        known = {"settings": self._settings, "affine": self.volume.affine.tolist(), **arguments}
        context = JobContext(folder, known, {"volume": np.asarray(self.volume.array)}, warm=self._warm)
        begin, worked = time.perf_counter(), time.process_time()
        answer = dict(job.run(context))
        seconds, worked = time.perf_counter() - begin, time.process_time() - worked
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))
        self.processor[name] = min(worked, self.processor.get(name, worked))
        shutil.rmtree(folder)
        return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", nargs="+", default=["d2"])
    parser.add_argument("--all", action="store_true", help="also, once, all pairs of the part and of the whole region")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the worker; read when torch is loaded
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        measured = Measured(package_with_teacher(root), root, options.threads)
        voxels = {}
        for repeat in range(1 + options.repeats):
            if repeat == 1:
                measured.seconds.clear()  # the first loads
                measured.processor.clear()
            measured.run("segment", job_segment)
            for pair in options.pairs:
                answer = measured.run(f"pair {pair}", job_features, request={**GLANCE, "first": [pair]})
                voxels[f"pair {pair}"] = answer["shape"]
        if options.all:
            for name, length in (("all pairs of the part", PART_MM), ("all pairs of the region", 0.0)):
                voxels[name] = measured.run(name, job_features, request={"part_mm": length})["shape"]
    times = {
        name: {
            "seconds": round(seconds, 3),
            "of segment": round(seconds / measured.seconds["segment"], 2),
            "processor seconds": round(measured.processor[name], 3),
        }
        for name, seconds in measured.seconds.items()
    }
    print(json.dumps({"times": times, "voxels": voxels, "threads": options.threads}, indent=1))


if __name__ == "__main__":
    main()
