"""``hlfd bench pipeline|network``: speed and memory as ratios within one run on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hlfd.cli.console import Console
from hlfd.cli.plain import columns
from hlfd.cli.signals import interrupt_at_once
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
    for kind in (pipeline, network):
        kind.add_argument("--model", default="kidney", help="name, name/version, or package folder (default: kidney)")
        kind.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the benchmark and return the exit code."""
    with interrupt_at_once():
        result = args.measure(args, console, cancel)
    console.result({"command": f"bench {args.kind}", "model": args.model, **result})
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
