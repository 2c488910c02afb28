"""``hlfd bench robustness``: Dice and failures of a kidney model under conditions that differ from an ordinary scan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hlfd.cli.console import Console
from hlfd.cli.phantom import require_torch
from hlfd.cli.plain import columns
from hlfd.cli.single import make_folder
from hlfd.errors import UsageError
from hlfd.events import CancelToken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments besides model and threads."""
    parser.add_argument("--cases", type=int, default=15, help="patients per condition, at most 15 (default: all)")
    parser.add_argument("--conditions", nargs="+", metavar="NAME", help='such as base native "slices 5"; default: all')
    parser.add_argument(
        "--shapes", default="kits19", help="kidneys of kits19 (default) or kits23, or procedural: drawn ones"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/robustness"),
        metavar="DIR",
        help="folder for table.md and results.json; scans measured there before are not measured again",
    )
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="only draw the first patient under each condition")


def measure(args: argparse.Namespace, console: Console, cancel: CancelToken) -> dict[str, Any]:
    """Run the benchmark, print its table and return its numbers."""
    require_torch("The simulation of CT scans")
    from hlfd.bench.robustness import TEST_CASES, RobustnessSettings, run_robustness
    from hlfd.bench.robustness_conditions import Patients, conditions_named
    from hlfd.bench.robustness_table import rows
    from hlfd.models.registry import find

    if not 1 <= args.cases <= len(TEST_CASES):
        raise UsageError(f"--cases is {args.cases}; 1 to {len(TEST_CASES)} were expected.")
    settings = RobustnessSettings(
        TEST_CASES[: args.cases], conditions_named(args.conditions), Patients(args.shapes), args.threads
    )
    if args.sheet is not None:
        return _sheet(args.sheet, settings, console)
    result = run_robustness(find(args.model), args.out, settings, console.on_event, cancel)
    console.say(columns(rows(result)))
    console.say(f"\nWrote {args.out / 'table.md'} and {args.out / 'results.json'}")
    return result


def _sheet(path: Path, settings: Any, console: Console) -> dict[str, Any]:
    from hlfd.bench.robustness_conditions import scan
    from hlfd.phantom.sheet import sheet_row, write_sheet

    if path.suffix.lower() != ".png":
        raise UsageError(f'--sheet "{path}" is no PNG file; a name ending in .png was expected.')
    make_folder(path.absolute().parent)
    anatomies = settings.patients.build(settings.cases[0], [condition.variation for condition in settings.conditions])
    scans = (scan(anatomies[condition.variation], condition) for condition in settings.conditions)
    write_sheet(path, [sheet_row(volume, truth) for volume, truth in scans])
    console.say(f"Wrote {path}")
    return {"sheet": path, "rows": [condition.name for condition in settings.conditions]}
