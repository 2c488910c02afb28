"""HU windows as network input channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CLIP_HU = (-2048, 4095)
"""Values outside are clipped before averaging, so that metal and reconstruction padding do not bleed."""


def window_channels(hu: NDArray[np.float32], windows: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Map HU (z, y, x) to one channel per window: (1, channels, z, y, x), each window to -1..1 and clipped."""
    channels = np.empty((1, len(windows), *hu.shape), np.float32)
    for channel, (low, high) in zip(channels[0], windows):
        np.subtract(hu, np.float32((low + high) / 2), out=channel)
        channel *= np.float32(2 / (high - low))
        np.clip(channel, -1, 1, out=channel)
    return channels
