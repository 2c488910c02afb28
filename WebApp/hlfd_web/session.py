"""The process of one browser session: ``python -m hlfd_web.session --folder PRIVATE --data-root ROOT --device D``.

It serves one page on a loopback port, says ``{"port": N}`` on stdout when it does, and ends when stdin closes.
``HLFD_WEB_SECRET`` in the environment, if set, must come with every request in the header ``X-HLFD-Secret``: the
front sends it, other users of the machine cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECRET_VARIABLE, SECRET_HEADER = "HLFD_WEB_SECRET", "X-HLFD-Secret"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin closes; return the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    from HLFDSegmentLib.graphics import prepare_rendering

    prepare_rendering()
    os.environ["WSLINK_READY_MSG"] = ""
    os.environ.setdefault("WSLINK_WS_COMPRESS", "0")  # pictures are compressed already
    asyncio.run(_serve(options))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hlfd_web.session", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="private folder of the session")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that browsers may see")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    from hlfd_web.app import Application
    from hlfd_web.files import DataRoot

    application = Application(DataRoot(options.data_root), options.folder, options.device)
    server = application.server
    secret = os.environ.pop(SECRET_VARIABLE, "")

    def on_bind(wslink_server: Any) -> None:
        if secret:
            wslink_server.app.middlewares.append(_guard(secret))

    def on_ready(**_state: Any) -> None:
        print(json.dumps({"port": server.port}), flush=True)

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
        thread=True,  # no signal handlers: the end of stdin ends the session
    )
    await _end_of_stdin()
    application.context.close()
    await server.stop()
    serving.cancel()


async def _end_of_stdin() -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(0, 4096) else _set(ended))
    await ended
    loop.remove_reader(sys.stdin.fileno())


def _set(future: asyncio.Future) -> None:
    if not future.done():
        future.set_result(None)


def _guard(secret: str) -> Any:
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> Any:
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, "").encode(), secret.encode()):
            raise web.HTTPForbidden()
        return await handler(request)

    return guard


if __name__ == "__main__":
    sys.exit(main())
