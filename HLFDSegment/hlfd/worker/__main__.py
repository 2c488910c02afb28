"""Entry point of ``python -m hlfd.worker``; it is started by ``hlfd.jobs`` and of no use by hand."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from hlfd.jobs.process import end_own_group, is_running
from hlfd.worker.server import RELEASE_S, Server, own_streams


def main(arguments: list[str]) -> int:
    """Serve the jobs of the process that started this one."""
    parser = argparse.ArgumentParser(prog="python -m hlfd.worker", description="Runs the jobs of hlfd.jobs.")
    parser.add_argument("--folder", type=Path, required=True, help="where the jobs of the owner lie")
    parser.add_argument("--owner", type=int, required=True, help="id of the process whose end ends this one")
    parser.add_argument("--own-group", action="store_true", help="it leads a process group, which ends with it")
    parser.add_argument("--package", action="append", default=[], help="searched for files job_NAME.py")
    parser.add_argument("--idle-exit", type=float, default=900.0, help="seconds without a job before leaving")
    parser.add_argument("--release", type=float, default=RELEASE_S, help="seconds before GPU memory is given back")
    options = parser.parse_args(arguments)
    requests, answers = own_streams()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = Server(
        requests,
        answers,
        options.folder,
        options.package,
        lambda: is_running(options.owner),
        end_own_group if options.own_group else lambda: None,
        options.idle_exit,
        options.release,
    )
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
