"""Entry point of ``python -m hlfd_web`` and ``hlfd-web``: the server that gives HLFD to browsers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import webbrowser
from importlib.util import find_spec
from typing import TYPE_CHECKING

from hlfd.errors import HlfdError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from hlfd_web.front.options import Options

_NEEDED = ("aiohttp", "trame_slicer", "trame_vuetify", "slicer", "platformdirs")


def _check_packages() -> None:
    if os.name != "posix":
        raise UsageError("The server of HLFD runs on Linux and macOS.", "On Windows use 3D Slicer, WSL or a container.")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"Packages of the browser application are missing: {', '.join(missing)}.",
            'Install them: pip install "hlfd[cpu,web]", or run: make app',
        )


def _can_show() -> bool:
    display = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(display) and sys.stdout.isatty()


async def _serve(options: Options) -> None:
    from hlfd_web.front.server import Front

    front = Front(options)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    await front.start()
    print(f"HLFD is at {front.address}", flush=True)
    print(f"Data: {front.root.folder}   Stop: Ctrl-C", flush=True)
    if options.open or (options.open is None and _can_show()):
        await asyncio.to_thread(webbrowser.open, front.address)
    try:
        await stop.wait()
    finally:
        await front.stop()


def main() -> None:
    """Run the server until it is told to stop; exit with 2 and one sentence where it cannot start."""
    try:
        _check_packages()
        from hlfd_web.front.options import read_options

        options = read_options(sys.argv[1:])
        level = logging.DEBUG if options.verbose else logging.WARNING
        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        logging.getLogger("hlfd_web").setLevel(level)
        asyncio.run(_serve(options))
    except HlfdError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
