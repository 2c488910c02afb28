"""``hlfd evaluate PRED REF``: metrics of a label map, or of a folder of them, against the truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hlfd.cli.console import Console
from hlfd.cli.plain import columns
from hlfd.errors import EmptyInputError, HlfdError, InputError, UsageError
from hlfd.events import CancelToken, Progress
from hlfd.words import number

_SHOWN = (
    ("Dice", "dice", 3),
    ("NSD 2 mm", "nsd_2mm", 3),
    ("HD95 mm", "hd95_mm", 1),
    ("volume error ml", "volume_error_ml", 1),
    ("false ml", "false_ml", 2),
    ("farthest false mm", "farthest_false_mm", 1),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("pred", metavar="PRED", type=Path, help="label map, or folder of label maps")
    parser.add_argument("ref", metavar="REF", type=Path, help="the truth: label map, or folder with the same names")
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=VALUES[:VALUES]",
        help="compare these values of PRED with these of REF, for example kidney=1,2,3,4:1,2 (repeatable)",
    )


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command and return the exit code."""
    from hlfd.metrics import parse_group

    groups = dict(parse_group(text) for text in args.group) or None
    pairs = find_pairs(args.pred, args.ref)
    rows: list[dict[str, Any]] = []
    for done, (name, pred, ref) in enumerate(pairs):
        cancel.check()
        console.case(name)
        rows.append({"case": name, "pred": pred, "ref": ref, **_evaluate(pred, ref, groups, len(pairs) > 1)})
        if "error" in rows[-1]:
            console.note(f"{name}: failed: {rows[-1]['error']['message']}")
        console.on_event(Progress(done + 1, len(pairs)))
    _show(rows, console)
    failed = [row["case"] for row in rows if "error" in row]
    single = rows[0] if args.pred.is_file() else {"cases": rows, "failed": failed, "mean_dice": mean_dice(rows)}
    console.result({"command": "evaluate", **single})
    return 1 if failed else 0


def _evaluate(pred: Path, ref: Path, groups: Any, go_on: bool) -> dict[str, Any]:
    from hlfd.io import read_label_map
    from hlfd.metrics import evaluate

    try:
        return evaluate(read_label_map(pred), read_label_map(ref), groups)
    except HlfdError as error:
        if not go_on:
            raise
        return {"error": error.to_dict()}


def find_pairs(pred: Path, ref: Path) -> list[tuple[str, Path, Path]]:
    """Return (name, prediction, reference) of two files, or of two folders' files with the same name.

    A reference folder may also hold a folder per case with ``segmentation.nii.gz`` (as KiTS does).
    """
    from hlfd.cli.cases import case_name, is_image_name

    for path in (pred, ref):
        if not path.exists():
            raise InputError(f'"{path}" does not exist.', "Check the path.")
    if pred.is_dir() != ref.is_dir():
        raise UsageError("PRED and REF must both be files or both be folders.")
    if pred.is_file():
        return [(case_name(pred), pred, ref)]
    files = sorted(path for path in pred.iterdir() if path.is_file() and is_image_name(path))
    truth = {case_name(path): path for path in ref.iterdir() if path.is_file() and is_image_name(path)}
    truth |= {path.parent.name: path for path in ref.glob("*/segmentation.nii.gz")}
    pairs = [(case_name(path), path, truth[case_name(path)]) for path in files if case_name(path) in truth]
    if not pairs:
        raise EmptyInputError(f'No label map in "{pred}" has one of the same name in "{ref}".', "Check the folders.")
    return pairs


def mean_dice(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean Dice per group over the cases that have it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, values in row.get("groups", {}).items():
            found.setdefault(name, []).append(values["dice"])
    return {name: sum(values) / len(values) for name, values in found.items()}


def _show(rows: list[dict[str, Any]], console: Console) -> None:
    table = [["structure", *(title for title, _, _ in _SHOWN), "lesions found"]]
    for row in rows:
        for name, values in row.get("groups", {}).items():
            label = name if len(rows) == 1 else f"{row['case']} {name}"
            table.append([label, *(number(values[key], digits) for _, key, digits in _SHOWN), _lesions(values)])
    console.say(columns(table))
    if len(rows) > 1:
        console.say("Mean Dice: " + ", ".join(f"{name} {value:.3f}" for name, value in mean_dice(rows).items()))


def _lesions(values: dict[str, Any]) -> str:
    lesions = values.get("lesions")
    return f"{lesions['found']} of {lesions['reference']}" if lesions else ""
