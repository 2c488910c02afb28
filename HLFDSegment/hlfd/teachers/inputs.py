"""What a teacher's input channels are made of, and how to make them from a student's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hlfd.errors import ConfigError

Window = Sequence[float]


@dataclass(frozen=True)
class ChannelInput:
    """One input channel: ``(clip(HU, low, high) - shift) / scale``."""

    low: float
    high: float
    shift: float
    scale: float

    @classmethod
    def of_window(cls, window: Window, value_range: Sequence[float] = (-1.0, 1.0)) -> ChannelInput:
        """Return the channel that maps the ends of a HU window linearly to the ends of ``value_range``."""
        (low, high), (first, last) = (float(v) for v in window), (float(v) for v in value_range)
        scale = (high - low) / (last - first)
        return cls(low, high, low - first * scale, scale)

    def __str__(self) -> str:
        first, last = (self.low - self.shift) / self.scale, (self.high - self.shift) / self.scale
        return f"{self.low:g}..{self.high:g} HU to {first:g}..{last:g}"


def channel_sources(wanted: Sequence[ChannelInput], windows: Sequence[Window]) -> list[int]:
    """Return per teacher channel the student's channel whose window holds its HU range, the narrowest of several.

    Raises ``ConfigError`` where no window does: what the student's window cut off cannot be given to the teacher.
    """
    sources = []
    for channel in wanted:
        holding = [n for n, (low, high) in enumerate(windows) if low <= channel.low and channel.high <= high]
        if not holding:
            shown = ", ".join(f"{low:g}..{high:g}" for low, high in windows)
            raise ConfigError(
                f"The teacher sees {channel.low:g}..{channel.high:g} HU, which no window of the student ({shown} HU) "
                "holds.",
                f"Give the student a further window that does, such as [{channel.low:g}, {channel.high:g}].",
            )
        sources.append(min(holding, key=lambda n: windows[n][1] - windows[n][0]))
    return sources


def convert_channels(
    image: Tensor, windows: Sequence[Window], wanted: Sequence[ChannelInput], sources: Sequence[int]
) -> Tensor:
    """Return the teacher's input (B, len(wanted), *spatial) from the student's (B, len(windows), *spatial).

    Student channels are HU windows mapped to -1..1, as ``hlfd.preprocess.intensity`` makes them.
    """
    channels = []
    for channel, source in zip(wanted, sources):
        low, high = windows[source]
        half, middle = (high - low) / 2, (high + low) / 2
        bounds = (channel.low - middle) / half, (channel.high - middle) / half
        part = image[:, source : source + 1].clamp(*bounds)
        channels.append(part * (half / channel.scale) + (middle - channel.shift) / channel.scale)
    return torch.cat(channels, 1)


def is_unchanged(windows: Sequence[Window], wanted: Sequence[ChannelInput]) -> bool:
    """Return whether the teacher takes exactly the student's channels."""
    return list(wanted) == [ChannelInput.of_window(window) for window in windows]
