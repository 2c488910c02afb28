"""``hlfd project``: a folder of labelled cases to train on, as the module HLFD Train of 3D Slicer collects them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hlfd.cli.console import Console
from hlfd.cli.plain import columns
from hlfd.errors import UsageError
from hlfd.events import CancelToken, Event

if TYPE_CHECKING:
    from hlfd.project import CaseInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = _action(actions, "create", "make a project in a new folder", _create)
    create.add_argument("--model", default="kidney", help="the model whose labels count (default: kidney)")
    create.add_argument("--name", default="", help="what to call it (default: the folder's name)")
    _action(actions, "list", "list the cases", _list)
    _action(actions, "check", "check the files of all cases against their checksums", _check)
    add = _action(actions, "add", "add one image with its label map", _add)
    add.add_argument("image", metavar="IMAGE", type=Path, help="CT: a file or a DICOM folder")
    add.add_argument("labels", metavar="LABELS", type=Path, help="label map of the same grid")
    add.add_argument("--title", default="", help="what to call the case")
    add.add_argument("--role", default="train", help="train, validation, test or unused (default: train)")
    many = _action(actions, "import", "add the cases of a data set in a known layout", _import)
    many.add_argument("dataset", metavar="DATASET", type=Path, help="KiTS, LiTS, MSD or nnU-Net folder, or a CSV")
    for one in (add, many):
        one.add_argument("--value", action="append", metavar="N=LABEL", help='such as 1="left kidney"; "1=" leaves out')
    suggest = _action(actions, "suggest", "order CTs by how much there is to learn from them", _suggest)
    suggest.add_argument("folder", metavar="CTS", type=Path, help="folder of CTs that are not labelled yet")
    suggest.add_argument("--model", default="", help="the student (default: that of the project)")
    suggest.add_argument("--teacher", default="", help="a teacher: what the two disagree on counts too (needs torch)")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the sub-command; the exit code is 1 where some cases failed."""
    code: int = args.act(args, console, cancel)
    return code


def _action(actions: argparse._SubParsersAction, name: str, summary: str, act: object) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary)
    parser.add_argument("project", metavar="PROJECT", type=Path, help="folder of the project")
    parser.set_defaults(act=act)
    return parser


def _create(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.models.registry import find
    from hlfd.project import Project

    project = Project.create(args.project, find(args.model, verify=False), args.name)
    console.say(f'Made the project "{project.name}" in {project.folder}')
    labels = {label.value: label.name for label in project.labels}
    console.result({"command": "project create", "folder": project.folder, "labels": labels})
    return 0


def _list(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.project import Project

    project = Project.open(args.project)
    rows = [[case.id, case.title, case.role, _volumes(case)] for case in project.cases]
    console.say(columns([["case", "title", "role", "ml"], *rows]) if rows else "The project holds no case.")
    for case_id, problem in project.problems.items():
        console.note(f"{case_id}: {problem}")
    cases = [case.to_dict() for case in project.cases]
    console.result({"command": "project list", "name": project.name, "cases": cases, "problems": project.problems})
    return 1 if project.problems else 0


def _check(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.project import Project

    project = Project.open(args.project)
    problems = project.verify(console.on_event, cancel)
    for case_id, problem in problems.items():
        console.say(f"{case_id}: {problem}")
    console.say(f"{len(project.cases) - len(set(problems) - set(project.problems))} cases are whole.")
    console.result({"command": "project check", "cases": len(project.cases), "problems": problems})
    return 1 if problems else 0


def _add(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.project import Project
    from hlfd.project.importing import add_files

    project = Project.open(args.project)
    source = {"kind": "files"}
    case = add_files(
        *(project, args.image, args.labels, _values(args.value), args.title, source, args.role),
        on_event=console.on_event,
        cancel=cancel,
    )
    console.say(f"Added {case.id}: {_volumes(case)}")
    console.result({"command": "project add", "case": case.to_dict()})
    return 0


def _import(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.project import Project

    project = Project.open(args.project)
    added, refused = project.import_folder(args.dataset, _values(args.value), console.on_event, cancel)
    console.say(f"{len(added)} cases were added, {len(refused)} were not.")
    cases = [case.to_dict() for case in added]
    console.result({"command": "project import", "added": cases, "refused": refused})
    return 1 if refused else 0


def _suggest(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    from hlfd.cli.cases import find_cases
    from hlfd.config import SegmentSettings
    from hlfd.inference.segmenter import Segmenter
    from hlfd.models.registry import find
    from hlfd.project import Project
    from hlfd.project.suggest import load_peer, suggest

    project = Project.open(args.project)
    settings = SegmentSettings(model=args.model or project.model)
    segmenter = Segmenter(find(settings.model), settings)
    teacher = load_peer(args.teacher, segmenter) if args.teacher else None

    def listen(event: Event) -> None:
        console.on_event(event)
        cancel.check()

    rows = suggest(project, find_cases(args.folder), segmenter, teacher, listen, cancel)
    table = [[row.name, "" if row.score is None else f"{row.score:.3f}", row.note] for row in rows]
    console.say(columns([["CT", "score", "note"], *table]))
    console.result({"command": "project suggest", "rows": [row.to_dict() for row in rows]})
    return 0


def _volumes(case: CaseInfo) -> str:
    return ", ".join(f"{name} {ml:.1f} ml" for name, ml in case.volumes_ml.items())


def _values(texts: Sequence[str] | None) -> dict[int, str] | None:
    if not texts:
        return None
    values = {}
    for text in texts:
        number, equals, name = text.partition("=")
        if not number.strip().isdigit() or not equals:
            raise UsageError(f'--value "{text}" is not of the form 1="left kidney".')
        values[int(number)] = name.strip()
    return values
