"""``hlfd check DATASET``: what is missing, does not fit, or is not CT, before a training starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hlfd.cli.console import Console
from hlfd.errors import UsageError
from hlfd.events import CancelToken, Event

if TYPE_CHECKING:
    from hlfd.data.check import CaseReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("dataset", metavar="DATASET", type=Path, help="KiTS, LiTS, MSD or nnU-Net folder, or a CSV")
    parser.add_argument("--values", default="1,2,3,4", help="label values that are known (default: 1,2,3,4)")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command; the exit code is 1 when a case cannot be used."""
    from hlfd.data.check import check_dataset

    def listen(event: Event) -> None:
        console.on_event(event)
        cancel.check()

    reports = check_dataset(args.dataset, _values(args.values), listen)
    for report in reports:
        _show(report, console)
    bad = [report.id for report in reports if not report.ok]
    console.say(f"{len(reports) - len(bad)} of {len(reports)} cases can be used.")
    console.result({"command": "check", "dataset": args.dataset, "cases": reports, "unusable": bad})
    return 1 if bad else 0


def _values(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(value) for value in text.split(","))
    except ValueError as error:
        raise UsageError(f'--values "{text}" is not a list of whole numbers such as 1,2,3.') from error


def _show(report: CaseReport, console: Console) -> None:
    for finding in report.findings:
        console.say(f"{report.id}: {finding.level}: {finding.message}")
