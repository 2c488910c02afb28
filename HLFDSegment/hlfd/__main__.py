"""Entry point of ``hlfd`` and ``python -m hlfd``."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def _own_stdout() -> TextIO:
    """Return a stream to stdout and point file descriptor 1 to stderr.

    With ``--json`` stdout holds one JSON object; what native libraries print must not get in between.
    """
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def main() -> None:
    """Run the command line and exit with its code."""
    from hlfd.cli.main import run

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    out = _own_stdout() if "--json" in sys.argv else sys.stdout
    code = run(sys.argv[1:], out)
    try:
        out.flush()
    except BrokenPipeError:  # the reader, such as head, went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
