"""``hlfd compare CONFIG.yaml``: train distillation methods under equal conditions and report their differences."""

from __future__ import annotations

import argparse
from pathlib import Path

from hlfd.cli.console import Console
from hlfd.cli.phantom import require_torch
from hlfd.cli.plain import columns
from hlfd.errors import UsageError
from hlfd.events import CancelToken

SOME_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("config", metavar="CONFIG.yaml", type=Path, help="such as configs/compare/quick.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="units at a time, each a process with one thread")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="train only these methods of the file now")
    parser.add_argument("--steps", type=int, help="train every unit for this many steps, in a folder of its own")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--report", action="store_true", help="train nothing; report the units that are finished")
    start.add_argument("--fresh", action="store_true", help="delete the units and data of earlier runs")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the comparison and return the exit code."""
    require_torch("A comparison")
    if args.jobs < 1:
        raise UsageError(f"--jobs is {args.jobs}; at least 1 was expected.")
    if args.steps is not None and args.steps < 1:
        raise UsageError(f"--steps is {args.steps}; at least 1 was expected.")
    from hlfd.compare.run import report_only, run_compare
    from hlfd.compare.table import rows_of_text

    if args.report:
        outcome = report_only(args.config, args.steps)
    else:
        outcome = run_compare(
            args.config, args.jobs, console.on_event, cancel, only=args.only, steps=args.steps, fresh=args.fresh
        )
    console.say(columns(rows_of_text(outcome.results)))
    report = outcome.folder / "report.html"
    console.say(f"Report: {report}")
    summary = {key: outcome.results[key] for key in ("baseline", "seeds", "cases", "missing", "teacher", "table")}
    console.result({"command": "compare", "report": report, "failed": outcome.failed, **summary})
    return SOME_FAILED if outcome.failed else 0
