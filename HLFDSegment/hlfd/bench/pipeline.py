"""Our pipeline against MONAI's defaults with the same network, on the same scan, in the same run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hlfd.bench.machine import best_seconds, gemm_gflops
from hlfd.bench.network import gflop, nnunet_like, openvino_file, pass_seconds
from hlfd.bench.phantom import bench_scan
from hlfd.bench.reference import MonaiPipeline
from hlfd.config import SegmentSettings
from hlfd.errors import HlfdError
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.inference.backends import OpenvinoBackend, cpu_threads
from hlfd.inference.export import Values, crop_to_foreground, export_labels
from hlfd.inference.postprocess import argmax_labels
from hlfd.inference.segmenter import Segmenter
from hlfd.inference.tiling import predict
from hlfd.io import read_volume, write_label_map
from hlfd.models.package import ModelPackage
from hlfd.preprocess.body import find_body
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import grid_over
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume

KEYS = (
    "speedup_no_io_box",
    "speedup_no_io_roi",
    "speedup_with_io_box",
    "speedup_with_io_roi",
    "gemm_share",
    "export_speedup",
    "student_teacher_speedup",
    "peak_rss_mb",
    "peak_rss_ratio",
    "cold_start_s",
)


@dataclass(frozen=True)
class _Bench:
    """What the measurements share."""

    package: ModelPackage
    scan: Path
    folder: Path
    threads: int
    repeats: int
    stage: Callable[[str], None]

    def settings(self, mode: str) -> SegmentSettings:
        return SegmentSettings(device="cpu", backend="openvino", mode=mode, threads=self.threads)


def run_pipeline_bench(
    package: ModelPackage,
    on_event: OnEvent = ignore,
    cancel: CancelToken | None = None,
    scan: Path | None = None,
    repeats: int = 3,
    threads: int = 0,
) -> dict[str, Any]:
    """Measure the pipeline with ``package`` on ``scan``, by default a simulated one of 512x512x200 voxels.

    Returns the ratios and numbers named in ``KEYS`` and, under ``seconds``, the times behind them; ``mode_used`` tells
    whether the locator found regions. ``student_teacher_speedup`` is against the full-size nnU-Net-like teacher,
    ``student_shipped_teacher_speedup`` against the package's own smaller one (None where it has none). The networks are
    loaded and have seen another size before times are taken; ours are medians of ``repeats`` runs.
    Raises ``MissingDependencyError`` without openvino, torch or monai.
    """

    def stage(name: str) -> None:
        if cancel is not None:
            cancel.check()
        on_event(Stage(name))

    path = scan or bench_scan(on_event)
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(package, path, Path(folder), cpu_threads(SegmentSettings(threads=threads)), repeats, stage)
        stage("measure memory and cold start in processes of their own")
        ours, monai = (_child(bench, kind) for kind in ("ours", "monai"))
        cold = statistics.median(_cold_start(bench) for _ in range(repeats))
        seconds, used = _pipelines(bench)
        passes, work = _network_passes(bench)
        seconds |= passes | _export_seconds(bench)
    result: dict[str, Any] = {
        f"speedup_{io}_{mode}": seconds[f"monai_{io}"] / seconds[f"{mode}_{io}"]
        for io in ("no_io", "with_io")
        for mode in ("box", "roi")
    }
    shipped = seconds.get("shipped_teacher_pass")
    result |= {
        "gemm_share": work["refiner_gflop"] / seconds["refiner_pass"] / work["gemm_gflops"],
        "export_speedup": seconds["export_all_logits"] / seconds["export_slabs"],
        "student_teacher_speedup": seconds["nnunet_like_pass"] / seconds["refiner_pass"],
        "peak_rss_mb": ours["peak_rss_mb"],
        "peak_rss_ratio": ours["peak_rss_mb"] / monai["peak_rss_mb"],
        "cold_start_s": cold,
    }
    ratio = shipped / seconds["refiner_pass"] if shipped else None
    about = {
        "student_shipped_teacher_speedup": ratio,
        "mode_used": used,
        "monai_peak_rss_mb": monai["peak_rss_mb"],
        **work,
    }
    return result | about | {"scan": str(path), "threads": bench.threads, "seconds": seconds}


def _child(bench: _Bench, kind: str) -> dict[str, float]:
    """Run one pipeline in its own process and return its seconds and peak memory."""
    arguments = [kind, str(bench.package.folder), str(bench.scan), str(bench.folder)]
    done = _process([sys.executable, "-m", "hlfd.bench.child", *arguments])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _cold_start(bench: _Bench) -> float:
    """Return the wall time from starting a process to the written label file."""
    command = [sys.executable, "-m", "hlfd", "segment", str(bench.scan), str(bench.folder / "cold.nii.gz")]
    options = ["--model", str(bench.package.folder), "--device", "cpu", "--backend", "openvino", "--mode", "roi"]
    begin = time.perf_counter()
    _process([*command, *options])
    return time.perf_counter() - begin


def _process(command: list[str]) -> subprocess.CompletedProcess[str]:
    import hlfd

    root = str(Path(hlfd.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "PYTHONUTF8": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise HlfdError(f'"{" ".join(command[1:4])}" failed: {done.stderr.strip()[-500:]}')
    return done


def _pipelines(bench: _Bench) -> tuple[dict[str, float], dict[str, str]]:
    """Return the seconds of MONAI's pipeline and of ours in both modes, with and without files, and the modes used."""
    seconds: dict[str, float] = {}
    used = {}
    volume = read_volume(bench.scan)
    for mode in ("roi", "box"):
        bench.stage(f"our pipeline, {mode}")
        segmenter = Segmenter(bench.package, bench.settings("auto" if mode == "roi" else "box"))
        segmenter.run(Volume(volume.array[: -(len(volume.array) // 5) or None], volume.affine))
        runs = [_ours(bench, segmenter) for _ in range(bench.repeats)]
        seconds[f"{mode}_no_io"] = statistics.median(run[0] for run in runs)
        seconds[f"{mode}_with_io"] = statistics.median(run[1] for run in runs)
        used[mode] = segmenter.run(volume).mode
    bench.stage("MONAI's default pipeline")
    begin = time.perf_counter()
    pipeline = MonaiPipeline(bench.package.refiner)
    seconds["monai_load_network"] = time.perf_counter() - begin
    begin = time.perf_counter()
    image = pipeline.load(bench.scan)
    read = time.perf_counter()
    labels = pipeline.run(image)
    ran = time.perf_counter()
    pipeline.save(labels, bench.folder)
    seconds |= {"monai_no_io": ran - read, "monai_with_io": time.perf_counter() - begin}
    return seconds, used


def _ours(bench: _Bench, segmenter: Segmenter) -> tuple[float, float]:
    """Return the seconds of one run without and with reading and writing files."""
    begin = time.perf_counter()
    volume = read_volume(bench.scan)
    read = time.perf_counter()
    result = segmenter.run(volume)
    ran = time.perf_counter()
    write_label_map(result.label_map, bench.folder / "labels.nii.gz")
    return ran - read, time.perf_counter() - begin


def _network_passes(bench: _Bench) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the seconds of one OpenVINO pass of refiner and teachers over a patch, and work and rate behind them."""
    bench.stage("network passes")
    refiner, teacher = bench.package.refiner, bench.package.teacher
    ir = openvino_file(refiner, bench.folder)
    backend = OpenvinoBackend(ir, bench.threads)
    before = gemm_gflops()
    seconds = {"refiner_pass": pass_seconds(backend, len(refiner.windows), repeats=2 * bench.repeats)}
    rate, library = max(before, gemm_gflops())
    channels = len(refiner.windows)
    slow = {"nnunet_like": nnunet_like(channels, len(refiner.classes), bench.folder)}
    if teacher is not None:
        slow["shipped_teacher"] = openvino_file(teacher, bench.folder)
    for name, path in slow.items():
        seconds[f"{name}_pass"] = pass_seconds(OpenvinoBackend(path, bench.threads), channels, repeats=1)
    work = {"refiner_gflop": gflop(ir, len(refiner.windows)), "gemm_gflops": rate, "gemm_library": library}
    return seconds, work


def _export_seconds(bench: _Bench) -> dict[str, float]:
    """Return the seconds of our label export and of upsampling all logits of the body box, then argmax."""
    import torch

    bench.stage("label export")
    entry = replace(bench.package.refiner, openvino=openvino_file(bench.package.refiner, bench.folder))
    volume = read_volume(bench.scan)
    frame = make_frame(canonical(volume), bench.threads)
    grid = grid_over(find_body(frame).box, entry.spacing_mm, entry.divisor)
    logits = predict(OpenvinoBackend.load(entry, bench.threads), entry, frame.sample(grid), 1200)
    same = np.arange(len(logits), dtype=np.uint8)
    out = np.zeros(frame.volume.array.shape, np.uint8)

    def slabs() -> None:
        labels = argmax_labels(logits)
        if labels.any():
            export_labels(*crop_to_foreground(logits, grid, labels), frame, Values(same, same, 0.0), out)

    sizes = [round(n * a / b) for n, a, b in zip(grid.shape, grid.spacing, frame.volume.spacing)]

    def whole() -> None:
        tensor = torch.from_numpy(logits)[None]
        torch.nn.functional.interpolate(tensor, sizes, mode="trilinear", align_corners=False).argmax(1)

    return {"export_slabs": best_seconds(slabs, bench.repeats), "export_all_logits": best_seconds(whole, 1)}
