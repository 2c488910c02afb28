"""One call that cannot be interrupted: with ``gil`` not even another thread of the process gets a turn."""

from __future__ import annotations

import re
import time

from hlfd.events import Stage


def run(context):
    context.on_event(Stage("stuck"))
    if context.arguments.get("gil"):
        re.match(r"(a+)+$", "a" * 60 + "b")
    time.sleep(60)
    return {}
