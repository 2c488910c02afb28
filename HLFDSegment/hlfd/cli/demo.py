"""``hlfd demo``: segments the simulated sample CT (or another) and writes a folder with pictures and a report."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hlfd.cli.cases import Case, case_name
from hlfd.cli.console import Console
from hlfd.cli.segment import add_engine_arguments, read_settings, summary
from hlfd.cli.signals import interrupt_at_once
from hlfd.cli.single import CaseRunner, SegmentedCase, make_folder
from hlfd.errors import MissingInputError, OutputError, UsageError
from hlfd.events import CancelToken
from hlfd.io import write_volume
from hlfd.words import number

if TYPE_CHECKING:
    from hlfd.report import Agreement

SAMPLE_IMAGE, SAMPLE_LABELS = "sample_ct.nii.gz", "sample_labels.nii.gz"
FRESH_ARGUMENTS = ("--spacing", "1.5", "--labels", "kidney")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--fresh", type=int, metavar="SEED", help="simulate a new CT (needs torch)")
    source.add_argument("--input", type=Path, metavar="CT", help="an own CT: image file or DICOM folder")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the results (default: demo)")
    add_engine_arguments(parser)


@dataclass(frozen=True)
class Sample:
    """The CT to show and, where it is known, its exact label map."""

    image: Path
    truth: Path | None
    what: str


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command and return the exit code."""
    settings = read_settings(args)
    make_folder(args.out)
    sample = _sample(args)
    runner = CaseRunner(settings, None, None, console, cancel)
    case = Case(case_name(sample.image), sample.image, args.out / "segmentation.seg.nrrd")
    done = runner.run(case, None)
    if args.input is not None:
        write_volume(done.volume, args.out / "ct.nii.gz")  # so that the folder holds all that is needed to look at it
    agreement = _agreement(sample, done) if sample.truth else None
    done = runner.report(done, args.out, agreement)
    for line in summary(done):
        console.say(line)
    console.say(f"CT: {args.out / 'ct.nii.gz'}")
    values = agreement.groups if agreement else {}
    if values:
        dice = ", ".join(f"{name.replace('_', ' ')} {number(v['dice'], 3)}" for name, v in values.items())
        console.say(f"Dice against the exact truth: {dice}")
    console.result({"command": "demo", "folder": args.out, **done.to_dict(), "agreement": values})
    return 0


def _sample(args: argparse.Namespace) -> Sample:
    if args.input is not None:
        return Sample(args.input, None, "")
    image, truth = args.out / "ct.nii.gz", args.out / "truth.nii.gz"
    if args.fresh is not None:
        _simulate(args.fresh, args.out)
        _move(args.out / "labels.nii.gz", truth)
        return Sample(image, truth, f"Simulated CT of seed {args.fresh} with its exact label map.")
    from hlfd.models.resources import sample_folder

    for name, target in ((SAMPLE_IMAGE, image), (SAMPLE_LABELS, truth)):
        if not (sample_folder() / name).is_file():
            raise MissingInputError(
                f'The sample CT is missing: "{sample_folder() / name}".', "Use --fresh SEED or --input CT."
            )
        _copy(sample_folder() / name, target)
    return Sample(image, truth, "The CT is simulated, so its exact label map is known.")


def _simulate(seed: int, folder: Path) -> None:
    """Simulate a CT as ``hlfd phantom`` does."""
    from hlfd.cli import phantom

    if seed < 0:
        raise UsageError(f"--fresh is {seed}; a whole number from 0 was expected.")
    parser = argparse.ArgumentParser()
    phantom.add_arguments(parser)
    arguments = parser.parse_args([str(folder), "--seed", str(seed), *FRESH_ARGUMENTS])
    with interrupt_at_once():
        phantom.write_scan(arguments, phantom.make_settings(arguments))


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copyfile(source, temporary)
        _move(temporary, target)
    except OSError as error:
        raise OutputError(f'"{target}" cannot be written: {error.strerror}.', "Choose another --out.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    source.replace(target)


def _agreement(sample: Sample, done: SegmentedCase) -> Agreement:
    from hlfd.io import read_label_map
    from hlfd.labels import KIDNEY_LABELS
    from hlfd.metrics import evaluate
    from hlfd.report import Agreement

    assert sample.truth is not None
    truth = read_label_map(sample.truth, KIDNEY_LABELS)
    return Agreement(sample.what, evaluate(done.result.label_map, truth)["groups"])
