"""Many short steps; stops at the next one when asked to."""

from __future__ import annotations

import subprocess
import sys
import time

from hlfd.events import ProgressClock


def run(context):
    if context.arguments.get("child"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    total = int(context.arguments.get("steps", 1000))
    clock = ProgressClock(total, context.on_event, context.cancel)
    for _ in range(total):
        time.sleep(0.01)
        clock.advance()
    return {"steps": total}
