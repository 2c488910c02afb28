"""Ends in the way that ``how`` names."""

from __future__ import annotations

import errno
import os
import signal

import numpy as np

from hlfd.errors import GeometryError


def run(context):
    how = context.arguments["how"]
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exits":
        os.write(2, b"about to fall over\n")
        os._exit(3)
    if how == "leaves":
        raise SystemExit(4)
    if how == "fills":
        context.save("large", np.zeros(int(context.arguments["bytes"]), np.uint8))
    raise {
        "geometry": GeometryError("The affine is odd.", "Resample."),
        "memory": MemoryError(),
        "full": OSError(errno.ENOSPC, "No space left on device", "somewhere"),
        "gpu": RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        "bug": ZeroDivisionError("by zero"),
        "long": ValueError("x" * 100_000),
    }[how]
