"""``hlfd models``: list, show, verify, import and remove model packages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hlfd.cli.console import Console
from hlfd.cli.plain import columns
from hlfd.errors import HlfdError
from hlfd.events import CancelToken

_MODEL_HELP = "name, name/version, or package folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list installed models")
    listing.set_defaults(act=_list)
    show = actions.add_parser("show", help="show the model card")
    show.add_argument("model", help=_MODEL_HELP)
    show.set_defaults(act=_show)
    verify = actions.add_parser("verify", help="check the SHA-256 of every file of one model, or of all")
    verify.add_argument("model", nargs="?", help=_MODEL_HELP)
    verify.set_defaults(act=_verify)
    add = actions.add_parser("import", help="install a model from a zip file or a folder")
    add.add_argument("source", metavar="FILE", type=Path, help="zip file or folder of a model package")
    add.add_argument("--overwrite", action="store_true", help="replace the version if it is installed")
    add.set_defaults(act=_import)
    remove = actions.add_parser("remove", help="delete an own model")
    remove.add_argument("model", help="name/version, or name for all its versions")
    remove.set_defaults(act=_remove)


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the sub-command and return the exit code."""
    code: int = args.act(args, console)
    return code


def _list(args: argparse.Namespace, console: Console) -> int:
    from hlfd.models.registry import installed

    entries = installed()
    rows = [
        [f"{e.name}/{e.version}", e.problem or e.title or e.task, "bundled" if e.bundled else "own", str(e.folder)]
        for e in entries
    ]
    console.say(columns([["model", "what", "from", "folder"], *rows]) if rows else "No model is installed.")
    console.result({"command": "models list", "models": [entry.to_dict() for entry in entries]})
    return 0


def _show(args: argparse.Namespace, console: Console) -> int:
    from hlfd.models.registry import find

    package = find(args.model, verify=False)
    card = package.folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else json.dumps(package.metadata, indent=1)
    console.say(text.rstrip())
    console.say(f"\nFolder: {package.folder}")
    console.result({"command": "models show", "folder": package.folder, "model": package.metadata})
    return 0


def _verify(args: argparse.Namespace, console: Console) -> int:
    from hlfd.models.package import load_package
    from hlfd.models.registry import find_folder, installed

    folders = [find_folder(args.model)] if args.model else [entry.folder for entry in installed()]
    checked = []
    for folder in folders:
        try:
            package = load_package(folder)
            checked.append({"folder": folder, "ok": True, "files": len(package.metadata["sha256"])})
            console.say(f"{package.name}/{package.version}: {len(package.metadata['sha256'])} files are intact.")
        except HlfdError as error:
            if args.model:
                raise
            checked.append({"folder": folder, "ok": False, "error": error.to_dict()})
            console.note(f"{folder}: {error}")
    console.result({"command": "models verify", "models": checked})
    return 0 if all(entry["ok"] for entry in checked) else 1


def _import(args: argparse.Namespace, console: Console) -> int:
    from hlfd.cli.signals import interrupt_at_once
    from hlfd.models.install import install

    with interrupt_at_once():
        package = install(args.source, args.overwrite)
    console.say(f"Installed {package.name}/{package.version} in {package.folder}")
    console.result({"command": "models import", "model": f"{package.name}/{package.version}", "folder": package.folder})
    return 0


def _remove(args: argparse.Namespace, console: Console) -> int:
    from hlfd.models.registry import remove

    folder = remove(args.model)
    console.say(f"Removed {folder}")
    console.result({"command": "models remove", "removed": folder})
    return 0
