"""Parses the command line, runs one command and turns every outcome into an exit code.

Exit codes: 0 done, 1 some cases failed, 2 an error that the user can act on, 3 an internal error, 130 cancelled.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any, NoReturn, TextIO

from hlfd import __version__
from hlfd.cli.console import Console
from hlfd.cli.signals import cancel_on_signals
from hlfd.errors import CancelledError, HlfdError, UsageError

COMMANDS = {
    "segment": "segment a CT, or a folder of many",
    "evaluate": "compare a label map with the truth",
    "check": "check a data set before training",
    "project": "collect labelled cases to train on",
    "phantom": "simulate an abdominal CT with exact labels",
    "train": "train a model by a recipe",
    "finetune": "adapt a model to a few own cases",
    "models": "list, show, verify, import or remove models",
    "export": "export a model as a MONAI bundle, ONNX or OpenVINO IR",
    "networks": "list the networks with their size and work",
    "compare": "compare distillation methods under equal conditions",
    "bench": "measure speed and memory",
    "demo": "segment the sample CT and write a report",
}
DONE, SOME_FAILED, USER_ERROR, INTERNAL_ERROR, CANCELLED = 0, 1, 2, 3, 130


class _Parser(argparse.ArgumentParser):
    """A parser that raises ``UsageError`` instead of leaving the process, so that ``--json`` covers it too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "allow_abbrev": False})  # "--js" would not be seen as --json

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See: {self.prog} --help.")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only ``command``'s own arguments are added when it is given, which keeps the start quick."""
    parser = _Parser(
        prog="hlfd",
        description="Segmentation of kidney and liver tumors in CT. Demonstration models; not for clinical use.",
    )
    parser.add_argument("--version", action="version", version=f"hlfd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, summary in COMMANDS.items():
        one = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if command in (None, name):
            module = importlib.import_module(f"hlfd.cli.{name}")
            module.add_arguments(one)
            one.set_defaults(run=module.run)
            for leaf in _leaves(one):
                leaf.add_argument("--json", action="store_true", help="print one JSON object on stdout")
                leaf.add_argument("--debug", action="store_true", help="show a traceback for internal errors")
    return parser


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the parsers that take arguments: ``parser`` itself, or its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices.values())
    return [parser]


def run(arguments: list[str], out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Run the command line with ``arguments`` and return its exit code; the streams default to those of the process."""
    console = Console(out or sys.stdout, err or sys.stderr, "--json" in arguments)
    debug = "--debug" in arguments
    try:
        with cancel_on_signals() as cancel:
            named = next((word for word in arguments if word in COMMANDS), None)
            args = build_parser(named).parse_args(arguments)
            code: int = args.run(args, console, cancel)
            return code
    except (CancelledError, KeyboardInterrupt):
        console.fail(CancelledError())
        return CANCELLED
    except HlfdError as error:
        console.fail(error)
        return USER_ERROR
    except BrokenPipeError:
        return DONE
    except Exception as error:  # a fault of the program: a sentence for the user, the traceback in a log file
        if debug:
            raise
        from hlfd.cli.failures import internal_error

        console.fail(internal_error(error))
        return INTERNAL_ERROR
    finally:
        console.close()
