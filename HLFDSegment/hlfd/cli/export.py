"""``hlfd export MODEL --to TARGET --out DIR``: a model package for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from hlfd.cli.console import Console
from hlfd.events import CancelToken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help="name, name/version, or package folder")
    parser.add_argument("--to", required=True, metavar="TARGET", help="bundle (MONAI), onnx or openvino")
    parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="new folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command and return the exit code."""
    import json

    from hlfd.cli.signals import interrupt_at_once
    from hlfd.config import look_up
    from hlfd.models.export import RECORD, TARGETS, export_package
    from hlfd.models.registry import find

    target = look_up(args.to, list(TARGETS), "target of the export")
    package = find(args.model)
    with interrupt_at_once():
        folder = export_package(package, target, args.out, args.overwrite, console.on_event)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    for role, facts in record["networks"].items():
        difference = facts.get("largest_logit_difference")
        checked = "" if difference is None else f", logits within {difference:.1g} of torch"
        console.say(f"{role}: {facts['file']}{checked}")
    console.say(package.notice)
    console.say(f"Wrote {folder}")
    console.result({"command": "export", "folder": folder, **{k: v for k, v in record.items() if k != "sha256"}})
    return 0
