"""Metrics of a run as JSON lines and TensorBoard events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hlfd.events import Metric, OnEvent, Warn
from hlfd.files import output_error, write_atomically


class RunLog:
    """Writes ``metrics.jsonl`` (one object per line: step and named numbers) and TensorBoard events; emits ``Metric``.

    Lines of steps after ``start_step``, left over from before a kill, are dropped when the log opens.
    """

    def __init__(self, folder: Path, start_step: int, tensorboard: bool, on_event: OnEvent) -> None:
        self._path = folder / "metrics.jsonl"
        self._on_event = on_event
        kept = [line for line in self._lines() if json.loads(line)["step"] <= start_step]
        write_atomically(self._path, lambda temporary: _write_lines(temporary, kept))
        self._board: Any = self._open_board(folder, start_step) if tensorboard else None

    def _lines(self) -> list[str]:
        """Return the complete lines of the log; the last one may have been cut by a kill."""
        if not self._path.exists():
            return []
        text = self._path.read_text(encoding="utf-8", errors="replace")
        return [line for line in text[: text.rfind("\n") + 1].splitlines() if line.endswith("}")]

    def _open_board(self, folder: Path, start_step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._on_event(Warn("tensorboard is not installed; metrics go to metrics.jsonl only."))
            return None
        return SummaryWriter(str(folder / "tensorboard"), purge_step=start_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log named numbers of ``step``; raise ``OutputError`` when the file cannot be written."""
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **values}) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)
        except OSError as error:
            raise output_error(self._path, error) from error
        self._on_event(Metric(step, values))

    def close(self) -> None:
        """Flush and close."""
        if self._board is not None:
            self._board.close()


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
