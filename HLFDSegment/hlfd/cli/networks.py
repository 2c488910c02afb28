"""``hlfd networks``: the networks that can be trained, with their size, work and taps."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hlfd.cli.console import Console
from hlfd.cli.phantom import require_torch
from hlfd.cli.plain import columns
from hlfd.events import CancelToken

if TYPE_CHECKING:
    from hlfd.networks.sizes import NetworkSize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks, with their taps")
    parser.add_argument("--channels", type=int, default=1, help="channels of the input (1)")
    parser.add_argument("--classes", type=int, default=2, help="classes of the output, background included (2)")
    parser.add_argument("--size", type=int, help="side of the image in voxels (384 in 2-D, 96 in 3-D)")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Measure the networks and return the exit code."""
    require_torch("Counting a network's parameters")
    from hlfd.networks import NETWORKS
    from hlfd.networks.sizes import measure

    sizes = []
    for name in args.names or NETWORKS:
        cancel.check()
        sizes.append(measure(name, args.channels, args.classes, args.size))
    console.say(_table(sizes))
    for size in sizes if args.names else ():
        console.say(f"\n{size.name}: {size.summary}")
        console.say(columns([["tap", "module"], *[[tap, path] for tap, path in size.taps.items()]]))
    console.result({"command": "networks", "networks": sizes})
    return 0


def _table(sizes: list[NetworkSize]) -> str:
    head = ["network", "dims", "parameters", "GMAC", "at", "divisor", "receptive field"]
    rows = [
        [
            size.name,
            f"{size.spatial_dims}-D",
            f"{size.parameters / 1e6:.3f} M",
            f"{size.gmac:.2f}",
            "x".join(map(str, size.input_shape)),
            str(size.divisor),
            str(size.receptive_field),
        ]
        for size in sizes
    ]
    return columns([head, *rows])
