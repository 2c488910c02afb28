"""Stands between client and worker as PythonSlicer does, and damages the lines that hold the word it is given.

Usage as the client's ``python``: ``[sys.executable, launcher.py, WORD]``; a dash damages nothing.
"""

from __future__ import annotations

import subprocess
import sys

word, arguments = sys.argv[1].encode(), sys.argv[2:]
print("launcher: a line that is no protocol", flush=True)
with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE) as worker:
    for line in worker.stdout:
        sys.stdout.buffer.write(line[: len(line) // 2] + b"\xff\n" if word in line and word != b"-" else line)
        sys.stdout.buffer.flush()
sys.exit(worker.returncode)
