"""``hlfd segment IN OUT``: one CT, or a folder of many with a table of results."""

from __future__ import annotations

import argparse
from pathlib import Path

from hlfd.cli.cases import Job, plan
from hlfd.cli.console import Console
from hlfd.cli.single import CaseRunner, SegmentedCase
from hlfd.config import BACKENDS, MODES, SegmentSettings
from hlfd.errors import UsageError
from hlfd.events import CancelToken
from hlfd.ranks import current_ranks
from hlfd.words import duration, left_out, number, sureness

_SHOWN_LESIONS = 12
OUTPUT_FORMATS = ("nii.gz", "seg.nrrd", "nrrd", "mha", "nii")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("input", metavar="IN", type=Path, help="image file, DICOM folder, or a folder of many cases")
    parser.add_argument("output", metavar="OUT", type=Path, help="label map (.seg.nrrd, .nii.gz, ...), or a folder")
    add_engine_arguments(parser)
    parser.add_argument("--report", metavar="DIR", type=Path, help="write a report with pictures to this folder")
    parser.add_argument("--series", help="DICOM series to take: its UID, number or description")
    parser.add_argument("--format", choices=OUTPUT_FORMATS, default="nii.gz", help="of label maps in an OUT folder")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose model and device."""
    parser.add_argument("--model", default="kidney", help="name, name/version, or package folder (default: kidney)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--backend", default="auto", help=f"one of {', '.join(BACKENDS)}")
    parser.add_argument("--mode", default="auto", help=f"one of {', '.join(MODES)}")
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="SHARE",
        help="leave out masses that are real with less than this probability, 0 keeps all (default: the model's own)",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 uses all")
    parser.add_argument("--memory-mb", type=int, default=SegmentSettings.memory_mb, help="cap of one network pass, MiB")


def read_settings(args: argparse.Namespace) -> SegmentSettings:
    """Return the settings that the arguments ask for."""
    return SegmentSettings(
        model=args.model,
        device=args.device,
        backend=args.backend,
        mode=args.mode,
        min_confidence=args.min_confidence,
        threads=args.threads,
        memory_mb=args.memory_mb,
    )


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command and return the exit code."""
    settings = read_settings(args)
    if args.report is not None and args.report.is_file():
        raise UsageError(f'--report "{args.report}" is a file; a folder was expected.')
    job = plan(args.input, args.output, f".{args.format}")
    runner = CaseRunner(settings, args.series, args.report, console, cancel)
    if job.folder is not None:
        from hlfd.cli.batch import run_batch

        return run_batch(job, runner, console)
    if not current_ranks().main:
        return 0  # one image is one process's work
    return _run_one(job, runner, console)


def _run_one(job: Job, runner: CaseRunner, console: Console) -> int:
    done = runner.run(job.cases[0], runner.report_folder)
    for line in summary(done):
        console.say(line)
    console.result({"command": "segment", **done.to_dict()})
    return 0


def summary(done: SegmentedCase) -> list[str]:
    """Return what was found, in lines for people."""
    result = done.result
    found = [f"{s.name} {number(s.volume_ml)} ml" for s in result.structures if s.voxels]
    lines = [", ".join(found) or "Nothing was found."]
    for lesion in result.lesions[:_SHOWN_LESIONS]:
        where = f", {lesion.side}" if lesion.side else ""
        size = f"{number(lesion.volume_ml)} ml, {number(lesion.axial_long_mm)} x {number(lesion.axial_short_mm)} mm"
        sure = "" if lesion.confidence is None else f", {sureness(lesion.confidence)}"
        lines.append(f"  {lesion.number}. {lesion.name}{where}: {size}{sure}")
    if len(result.lesions) > _SHOWN_LESIONS:
        lines.append(f"  and {len(result.lesions) - _SHOWN_LESIONS} smaller ones")
    if result.left_out_ml:
        lines.append(f"  {left_out(result.left_out_ml)}")
    if result.demonstration:
        lines.append(done.notice)
    lines.append(f"Wrote {done.case.target} in {duration(result.timing['total'])} ({result.backend}, {result.device}).")
    if done.report is not None:
        lines.append(f"Report: {done.report}")
    return lines
