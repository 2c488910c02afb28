"""``hlfd bench pipeline|network|distillation|robustness``: speed and memory as ratios within one run, and failures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hlfd.cli import bench_robustness
from hlfd.cli.console import Console
from hlfd.cli.plain import columns
from hlfd.cli.signals import interrupt_at_once
from hlfd.errors import UsageError
from hlfd.events import CancelToken
from hlfd.words import number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    pipeline = kinds.add_parser("pipeline", help="the whole pipeline against MONAI's defaults, on a 512x512x200 CT")
    pipeline.add_argument("--scan", type=Path, help="an own CT; default: a simulated one")
    pipeline.add_argument("--repeats", type=int, default=3, help="runs of which the median counts")
    pipeline.set_defaults(measure=_pipeline)
    network = kinds.add_parser("network", help="one pass of each network, against this machine's matrix product")
    network.set_defaults(measure=_network)
    robustness = kinds.add_parser("robustness", help="Dice and failures of a kidney model under unusual conditions")
    bench_robustness.add_arguments(robustness)
    robustness.set_defaults(measure=bench_robustness.measure)
    for kind in (pipeline, network, robustness):
        kind.add_argument("--model", default="kidney", help="name, name/version, or package folder (default: kidney)")
    distillation = kinds.add_parser("distillation", help="a training step with a teacher beside it, and with its cache")
    distillation.add_argument("--teacher", default="dynunet", help="network of the teacher (default: dynunet)")
    distillation.add_argument("--methods", nargs="+", default=["hlfd"], metavar="NAME", help="distillation methods")
    distillation.add_argument("--patch", type=int, default=64, help="side of the patch in voxels")
    distillation.add_argument("--repeats", type=int, default=3, help="rounds of which the best counts")
    distillation.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    distillation.set_defaults(measure=_distillation, model=None)
    for kind in (pipeline, network, distillation, robustness):
        kind.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the benchmark and return the exit code."""
    with interrupt_at_once():
        result = args.measure(args, console, cancel)
    model = {} if args.model is None else {"model": args.model}
    console.result({"command": f"bench {args.kind}", **model, **result})
    return 0


def _pipeline(args: argparse.Namespace, console: Console, cancel: CancelToken) -> dict[str, Any]:
    from hlfd.bench.pipeline import KEYS, run_pipeline_bench
    from hlfd.models.registry import find

    package = find(args.model)
    result = run_pipeline_bench(package, console.on_event, cancel, args.scan, args.repeats, args.threads)
    console.say(columns([["measure", "value"], *([key, number(result[key], 2)] for key in KEYS)]))
    seconds = ((name, f"{value:.3f} s") for name, value in result["seconds"].items())
    console.say("\n" + columns([["time", ""], *(list(row) for row in seconds)]))
    return result


def _network(args: argparse.Namespace, console: Console, cancel: CancelToken) -> dict[str, Any]:
    from hlfd.bench.network import run_network_bench
    from hlfd.models.registry import find

    result = run_network_bench(find(args.model), console.on_event, cancel, threads=args.threads)
    rows = [
        [
            f"{row['network']} {row['backend']}",
            number(row["gflop"], 1),
            number(row["ms"], 1),
            number(row["gflops"], 0),
            f"{100 * row['gemm_share']:.0f} %",
        ]
        for row in result["networks"]
    ]
    head = ["network", "GFLOP", "ms", "GFLOP/s", "of matrix product"]
    console.say(columns([head, *rows]))
    console.say(f"Matrix product: {result['gemm_gflops']:.0f} GFLOP/s ({result['gemm_library']})")
    return result


def _distillation(args: argparse.Namespace, console: Console, cancel: CancelToken) -> dict[str, Any]:
    from hlfd.cli.phantom import require_torch

    require_torch("This benchmark")
    from hlfd.bench.distillation import OVERHEAD_BAR, SPEEDUP_BAR, DistillationBench, run_distillation_bench

    if args.patch < 32 or args.patch % 32 or args.repeats < 1:
        raise UsageError("--patch must be a multiple of 32 and --repeats at least 1.")
    settings = DistillationBench(args.teacher, tuple(args.methods), args.patch, args.repeats, args.threads, args.device)
    result = run_distillation_bench(settings, console.on_event, cancel)
    rows = [[name.replace("_", " "), f"{value:.3f} s"] for name, value in result["seconds"].items()]
    console.say(columns([["measure", "time"], *rows]))
    console.say(f"Cached outputs: {result['cached_speedup']:.1f} times faster (bar: {SPEEDUP_BAR:g})")
    console.say(f"Online teacher: {result['overhead']:.2f} of student step + teacher pass (bar: {OVERHEAD_BAR:g})")
    return result
