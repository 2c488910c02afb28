"""What the panel says while the engine works."""

from __future__ import annotations

from hlfd.events import Event, Progress, Stage
from hlfd.words import duration
from HLFDSegmentLib.stages import STAGES

MARK_DOUBTFUL = "Mark doubtful masses too"


def stage_text(stage: str, seconds_left: float | None) -> str:
    """Return the line below the progress bar, such as "Outlining, about 3.0 s left"."""
    left = f", about {duration(max(1.0, seconds_left))} left" if seconds_left else ""
    return f"{STAGES.get(stage, stage.capitalize())}{left}"


def waiting_text(ahead: int) -> str:
    """Return what is said while other sessions use the device."""
    return f"Waiting: {'one job is' if ahead == 1 else f'{ahead} jobs are'} ahead on this device"


class Progressing:
    """Follows the events of one run: ``percent`` (None while unknown) and ``text``."""

    def __init__(self) -> None:
        self.percent: int | None = None
        self._stage, self._left = "start", None

    def take(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, Stage):
            self._stage = event.name
        elif isinstance(event, Progress) and event.total:
            self.percent = int(100 * event.done / event.total)
            self._left = event.seconds_left

    @property
    def text(self) -> str:
        """What is being done, and how long it will take."""
        return stage_text(self._stage, self._left)
