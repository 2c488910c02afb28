"""Measure the browser application from outside, in a headless Chromium, and print one JSON object.

    python scripts/measure_web.py [--ct CT.nii.gz] [--sessions 5 --seconds 120]

Start to usable page, click to overlay (first and warm), frames per second of slice scrolling, what the server adds to a
call, and with --sessions the same work by several browsers at once with the memory of all processes before and after.
The browser draws on the same processor, so numbers with several browsers are those of a machine that does both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgpack
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).resolve().parents[1]
STREAM = b"trame.rca.topic.stream"


class Server:
    """The server in a process of its own, with a fresh data root."""

    def __init__(self, ct: Path | None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="hlfd-measure-"))
        if ct is not None:
            (self.root / "uploads").mkdir()
            shutil.copy(ct, self.root / "uploads" / ct.name)
        self.begun = time.monotonic()
        command = [sys.executable, "-m", "hlfd_web", "--port", "0", "--no-open", "--data-root", str(self.root)]
        environment = {**os.environ, "HLFD_RUN_LOCK": str(self.root / "training.lock")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment)
        self.address = self.process.stdout.readline().split()[-1] if self.process.stdout else ""

    def processes(self) -> list[psutil.Process]:
        """Return the server and all that it started."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def memory_mb(self) -> float:
        """Return the memory of all processes, each shared page counted once."""
        total = 0
        for process in self.processes():
            try:
                total += process.memory_full_info().pss
            except (psutil.Error, AttributeError):  # gone meanwhile
                continue
        return round(total / 2**20, 1)

    def stop(self) -> None:
        """End it and remove its data."""
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.root, ignore_errors=True)


class User:
    """One browser with its page; counts the frames of each view."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.page: Page = self.context.new_page()
        self.frames: Counter[str] = Counter()
        self.errors: list[str] = []
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._count))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)[:300]))
        self.page.goto(address)

    def _count(self, payload: Any) -> None:
        data = payload if isinstance(payload, bytes) else b""
        if STREAM in data[:100]:
            try:
                self.frames[msgpack.unpackb(data[12:])["result"]["name"]] += 1
            except (ValueError, KeyError, TypeError):  # a part of a frame that was cut in pieces
                return

    def by(self, name: str) -> Any:
        """Return the element with this ``data-testid``."""
        return self.page.get_by_test_id(name)

    def open_ct(self, ct: Path | None) -> float:
        """Open the CT (the sample without one); return seconds until it is shown."""
        self.by("open-sample").wait_for(timeout=180_000)
        if ct is not None:
            self.by("file-uploads").click()
        before = self.frames.copy()
        begin = time.monotonic()
        self.by("open-sample" if ct is None else f"file-{ct.name}").click()
        self.by("open-volume").first.wait_for(timeout=120_000)
        while sum(view > 0 for view in (self.frames - before).values()) < 3:
            self.page.wait_for_timeout(10)
        return time.monotonic() - begin

    def segment(self) -> float:
        """Press the button; return seconds until the result and the next frame are there."""
        self.by("tab-segment").click()
        button = self.page.locator("[data-testid=segment-button]:not([disabled])")
        button.wait_for(timeout=120_000)
        self.page.wait_for_timeout(100)
        begin = time.monotonic()
        button.click()
        self.by("seg-progress").wait_for(timeout=20_000)
        self.by("seg-progress").wait_for(state="hidden", timeout=300_000)
        self.by("structure-table").wait_for(timeout=5_000)
        return time.monotonic() - begin

    def scroll(self, seconds: float, pause: float = 20.0) -> float:
        """Turn the wheel over the axial view; return its frames per second."""
        box = self.by("view-Red").bounding_box()
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        before, begin, turns = self.frames.copy(), time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            self.page.mouse.wheel(0, 100 if turns // 40 % 2 else -100)
            self.page.wait_for_timeout(pause)
            turns += 1
        passed = time.monotonic() - begin
        return max((self.frames - before).values(), default=0) / passed

    def call_ms(self) -> float:
        """Return the median time of a call to the session that does nothing, in ms."""
        times = self.page.evaluate(
            """async () => {
                const times = [];
                for (let n = 0; n < 60; n++) {
                    const begin = performance.now();
                    await window.trame.client.getRemote().Trame.updateState([]);
                    times.push(performance.now() - begin);
                }
                return times;
            }"""
        )
        return statistics.median(times)

    def trouble(self) -> list[str]:
        """Return errors of the page, a lost connection and notices of errors."""
        found = list(self.errors)
        if self.by("connection-lost").count():
            found.append(self.by("connection-lost").inner_text())
        notices = self.page.evaluate("(window.trame?.state?.get('notices') || []).map((one) => JSON.stringify(one))")
        return found + [notice[:300] for notice in notices if '"error"' in notice]


def one_user(server: Server, browser: Browser, ct: Path | None) -> dict[str, Any]:
    """Measure a single user from a cold start on."""
    user = User(browser, server.address)
    user.by("open-sample").wait_for(timeout=180_000)
    found: dict[str, Any] = {"start_to_usable_s": time.monotonic() - server.begun}
    found["open_s"] = user.open_ct(ct)
    found["first_overlay_s"] = user.segment()
    found["warm_overlay_s"] = [user.segment() for _ in range(3)]
    found["scroll_fps"] = [user.scroll(5.0) for _ in range(3)]
    found["call_ms"] = user.call_ms()
    found["trouble"] = user.trouble()
    user.context.close()
    return found


def command_of(process: psutil.Process) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def settle(server: Server, sessions: int, seconds: float = 90.0) -> None:
    """Wait until only the server and ``sessions`` processes with their workers are left, and a moment more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if sum("hlfd_web.session" in command_of(process) for process in server.processes()) <= sessions:
            break
        time.sleep(0.5)
    time.sleep(10)


def several_users(server: Server, browser: Browser, ct: Path | None, count: int, seconds: float) -> dict[str, Any]:
    """Let several browsers segment and scroll at the same time."""
    settle(server, 1)
    found: dict[str, Any] = {"sessions": count, "memory_before_mb": server.memory_mb()}
    users = [User(browser, server.address) for _ in range(count)]
    for user in users:
        user.open_ct(ct)
    found["memory_open_mb"] = server.memory_mb()
    end, overlays, most = time.monotonic() + seconds, 0, 0.0
    rates: list[float] = []
    while time.monotonic() < end:
        for user in users:
            user.by("tab-segment").click()
            button = user.page.locator("[data-testid=segment-button]:not([disabled])")
            if button.count():
                overlays += user.by("structure-table").count() > 0
                button.click()
            rates.append(user.scroll(1.0))
        most = max(most, server.memory_mb())
    for user in users:
        user.by("seg-progress").wait_for(state="hidden", timeout=300_000)
        overlays += user.by("structure-table").count() > 0
    found |= {"segmented": overlays, "scroll_fps_median": statistics.median(rates), "memory_most_mb": most}
    found["trouble"] = [trouble for user in users for trouble in user.trouble()]
    for user in users:
        user.context.close()
    settle(server, 1)
    found["memory_after_mb"] = server.memory_mb()
    found["memory_returned_within_percent"] = 100 * (found["memory_after_mb"] / found["memory_before_mb"] - 1)
    return found


def main() -> None:
    """Run what was asked for and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path, default=None, help="default: the sample CT")
    parser.add_argument("--sessions", type=int, default=0, help="browsers at a time; 0 leaves this part out")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long they work")
    parser.add_argument("--chromium", default=os.environ.get("HLFD_CHROMIUM") or shutil.which("chromium"))
    options = parser.parse_args()
    server = Server(options.ct)
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}
    try:
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            found["one_user"] = one_user(server, browser, options.ct)
            if options.sessions:
                found["several_users"] = several_users(server, browser, options.ct, options.sessions, options.seconds)
            browser.close()
    finally:
        server.stop()
    found["load_after"] = os.getloadavg()[0]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
