"""A session process without VTK: a real trame server with one button, for tests of the front."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from trame.app import get_server
from trame.ui.html import DivLayout
from trame.widgets import html

from hlfd_web.front import guard


def build(server, folder: Path):
    state = server.state
    state.count = 0
    state.upload = {}
    server.controller.die = lambda: os._exit(3)

    @server.controller.add("more")
    def more():
        state.count += 1

    @server.controller.add("offer")
    def offer():
        (folder / "downloads").mkdir(exist_ok=True)
        (folder / "downloads" / "table.csv").write_text("a,b\n")

    with DivLayout(server) as layout:
        html.H1("A session of {{ count }}")
        html.Button("More", click=server.controller.more, raw_attrs=['data-testid="more"'])
        html.Button("Offer", click=server.controller.offer, raw_attrs=['data-testid="offer"'])
        html.Button("Die", click=server.controller.die, raw_attrs=['data-testid="die"'])
        html.Input(type="file", raw_attrs=['data-hlfd-upload="upload"', 'data-testid="file"', "multiple"])
        html.P("{{ upload.state }} {{ upload.path }} {{ upload.message }}", raw_attrs=['data-testid="uploaded"'])
    return layout


async def serve(options):
    server = get_server("child", client_type="vue3")
    build(server, options.folder)
    server.controller.on_server_bind.add(lambda wslink_server: guard.protect(wslink_server.app))
    server.controller.on_server_ready.add(lambda **_: print(json.dumps({"port": server.port}), flush=True))
    server.start(port=0, host="127.0.0.1", exec_mode="task", show_connection_info=False, thread=True)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(0, lambda: None if os.read(0, 100) else ended.set())
    await ended.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--device")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]  # trame looks there too
    if "refuses" in options.device:
        sys.exit("no screen")
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
