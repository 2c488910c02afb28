"""``hlfd finetune MODEL --data DIR --out OUT``: adapts a model to a few own labelled cases."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hlfd.cli.console import Console
from hlfd.cli.phantom import require_torch
from hlfd.cli.plain import columns
from hlfd.events import CancelToken
from hlfd.words import number

if TYPE_CHECKING:
    from hlfd.training.finetune_report import Comparison

_HEAD = {"dice": "Dice", "nsd_1mm": "surface Dice 1 mm", "nsd_2mm": "2 mm", "volume_error_ml": "volume error ml"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", metavar="MODEL", help="name, name/version, or package folder; it stays as it is")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="labelled cases in any known layout")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the run and the new version")
    parser.add_argument("--teacher", metavar="SOURCE", help="guide: a package, MONAI bundle, TorchScript or nnU-Net")
    parser.add_argument("--minutes", type=float, default=10.0, help="time, 0: until it stops improving (default: 10)")
    parser.add_argument("--steps", type=int, default=0, help="this many steps instead of --minutes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--lr", type=float, default=1e-4, help="highest learning rate (default: 0.0001)")
    parser.add_argument("--patch", type=int, default=64, help="side of the training patches in voxels (default: 64)")
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="patches per step (default: 2)")
    parser.add_argument("--method", default="kd", help="how the teacher guides: kd (default), hlfd+kd, ..., none")
    parser.add_argument("--guide", type=float, default=1.0, metavar="WEIGHT", help="weight of the teacher; 0: none")
    parser.add_argument("--replay", type=float, default=0.7, metavar="SHARE", help="share of simulated patches")
    parser.add_argument("--held-out", nargs="+", default=[], metavar="CASE", help="cases to score, not to learn from")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of held-out cases and of the training")
    parser.add_argument("--install", action="store_true", help="also add the new version to the installed models")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Fine-tune and return the exit code."""
    require_torch("Fine-tuning")
    from hlfd.models.install import install
    from hlfd.teachers import TeacherSettings
    from hlfd.training.finetune import FinetuneSettings, finetune

    settings = FinetuneSettings(
        minutes=args.minutes,
        steps=args.steps,
        lr=args.lr,
        patch=args.patch,
        batch_size=args.batch,
        method=args.method,
        guide_weight=args.guide,
        replay_share=args.replay,
        device=args.device,
        seed=args.seed,
    )
    teacher = TeacherSettings(args.teacher) if args.teacher else None
    done = finetune(args.model, args.data, args.out, settings, teacher, args.held_out, console.on_event, cancel)
    package = install(done.package.folder) if args.install else done.package
    console.say(_table(done.comparison))
    if done.roles.stop == done.roles.test:
        console.say("So few cases were there that the scored ones also chose when to stop: the gain is flattered.")
    console.say(f"New version: {package.name}/{package.version} in {package.folder}")
    console.result(
        {
            "command": "finetune",
            "model": args.model,
            "version": package.version,
            "package": package.folder,
            "steps": done.steps,
            "improved": done.improved,
            "roles": {name: list(cases) for name, cases in asdict(done.roles).items()},
            "table": done.comparison.table,
        }
    )
    return 0


def _table(comparison: Comparison) -> str:
    """Return the table of before and after on the held-out cases."""
    rows = [["held-out cases", "", *_HEAD.values()]]
    for structure, sides in comparison.table.items():
        for side, values in sides.items():
            rows.append([structure.replace("_", " "), side, *(number(values[key], 2) for key in _HEAD)])
    return columns(rows)
