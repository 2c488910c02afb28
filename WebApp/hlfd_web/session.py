"""The process of one browser session: ``python -m hlfd_web.session --folder PRIVATE --data-root ROOT --device D``.

It serves one page on a loopback port, prints ``{"port": N}`` on stdout when it does, and ends when stdin closes, which
it does also when the front was killed; see ``hlfd_web.front``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hlfd.errors import HlfdError
from hlfd_web.front.guard import protect

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin closes; return the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    os.environ["WSLINK_READY_MSG"] = ""  # stdout tells the port alone
    os.environ["WSLINK_WS_COMPRESS"] = "0"  # the pictures are compressed already
    try:
        asyncio.run(_serve(options))
    except HlfdError as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hlfd_web.session", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="private folder of the session")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that browsers may see")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    from hlfd_web.files import DataRoot
    from HLFDSegmentLib.graphics import prepare_rendering

    prepare_rendering()
    root = DataRoot(options.data_root)
    os.environ.setdefault("HLFD_MODELS", str(root.models))
    options.folder.mkdir(parents=True, exist_ok=True)
    from hlfd_web.app import Application

    application = Application(root, options.folder, options.device)
    server, ended, loop = application.server, asyncio.Event(), asyncio.get_running_loop()
    loop.set_exception_handler(_on_lost)

    def on_bind(wslink_server: Any) -> None:
        protect(wslink_server.app)

    def on_ready(**_state: Any) -> None:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
        with contextlib.suppress(BrokenPipeError):  # the front was killed meanwhile: stdin is closed too
            sys.stdout.write(json.dumps({"port": server.port}) + "\n")
            sys.stdout.flush()

    server.controller.on_server_bind.add(on_bind)
    server.controller.on_server_ready.add(on_ready)
    serving = server.start(
        port=options.port,
        host="127.0.0.1",
        exec_mode="task",
        open_browser=False,
        show_connection_info=False,
        disable_logging=True,
        timeout=0,
        thread=True,  # no handlers of signals: the end of stdin ends the session
    )
    await ended.wait()
    loop.remove_reader(0)
    application.context.close()
    serving.cancel()


def _on_lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over what a page that was closed meanwhile did not take any more; log everything else."""
    if not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


if __name__ == "__main__":
    sys.exit(main())
