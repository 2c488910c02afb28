"""What a job is given: arguments, arrays, a place for results, and ways to report and to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hlfd.events import CancelToken, OnEvent, ignore
from hlfd.jobs.files import OUT, save_array
from hlfd.worker.warm import Warm


@dataclass
class JobContext:
    """One job. ``arrays`` are memory-mapped and read-only; ``folder`` is removed when its owner has the result."""

    folder: Path
    arguments: Mapping[str, Any]
    arrays: Mapping[str, NDArray]
    on_event: OnEvent = ignore
    cancel: CancelToken = field(default_factory=CancelToken)
    warm: Warm = field(default_factory=Warm)

    def save(self, name: str, array: NDArray) -> None:
        """Give an array back under ``name``."""
        save_array(self.folder, OUT, name, array)
