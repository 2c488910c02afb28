"""Rows of one table that several processes fill: each keeps its own in a file, the main one puts them together.

Nothing but a folder that all can reach is needed. A process that ends early leaves the rows it had finished; started
again by the launcher, the processes share what is then left to do.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hlfd.cli.plain import plain
from hlfd.cli.single import make_folder
from hlfd.errors import HlfdError, OutputError
from hlfd.files import write_text
from hlfd.ranks import Ranks

T = TypeVar("T")
Row = dict[str, Any]
BEAT_S = 2.0
LOST_AFTER_S = 20.0


class LostProcessError(HlfdError):
    """A process of the job ended before it had done its cases."""

    code = "process_lost"


class SharedRows:
    """The rows of this process and, for the main process, those of the others; ``folder`` is where results go.

    Each process has a file in ``folder/.processes`` with its rows and one with a number that it counts up while it
    lives. Use as a context manager, which starts and stops the counting.
    """

    def __init__(self, folder: Path, ranks: Ranks, beat_s: float = BEAT_S, lost_after_s: float = LOST_AFTER_S) -> None:
        self._folder = folder / ".processes"
        self._ranks = ranks
        self._beat_s, self._lost_after_s = beat_s, lost_after_s
        self._rows: list[Row] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        make_folder(self._folder)
        self._earlier = self._rows_of_earlier_starts()

    def _path(self, kind: str) -> Path:
        return self._folder / f"{self._ranks.rank}-{self._ranks.restarts}.{kind}"

    def _rows_of_earlier_starts(self) -> dict[str, Row]:
        parts = [part for part in self._parts() if part["restarts"] < self._ranks.restarts]
        return {row["case"]: row for part in parts for row in part["rows"] if row["status"] == "ok"}

    def own(self, cases: Sequence[T], name: Callable[[T], str]) -> list[T]:
        """Return the cases of this process, without those that were done before the launcher started it again."""
        return self._ranks.take([case for case in cases if name(case) not in self._earlier])

    def __enter__(self) -> SharedRows:
        self._write(finished=False)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_counting()

    def _stop_counting(self) -> None:
        self._ended.set()
        self._thread.join()

    def add(self, row: Row) -> None:
        """Keep a finished row; raise ``OutputError`` where that is not possible."""
        self._rows.append(plain(row))
        self._write(finished=False)

    @property
    def exit_code(self) -> int:
        """0, or 1 when a case of this process failed."""
        return int(any(row["status"] != "ok" for row in self._rows))

    def finish(self) -> None:
        """Note that this process has done all its cases, after which it writes nothing more."""
        self._stop_counting()
        self._write(finished=True)

    def _write(self, finished: bool) -> None:
        facts = {"rank": self._ranks.rank, "restarts": self._ranks.restarts, "run": self._ranks.run}
        write_text(self._path("json"), json.dumps({**facts, "finished": finished, "rows": self._rows}))

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(self._beat_s if count else 0):
            count += 1
            with contextlib.suppress(OutputError):  # a full disk stops the process elsewhere
                write_text(self._path("beat"), str(count))

    def _parts(self) -> Iterator[dict[str, Any]]:
        """Read the files of all processes of this job, earlier starts first."""
        parts = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                parts.append(json.loads(path.read_text(encoding="utf-8")))
        yield from sorted((p for p in parts if p["run"] == self._ranks.run), key=lambda part: part["restarts"])

    def gather(self, names: Sequence[str], wait: bool) -> list[Row]:
        """Return the rows of all processes in the order of the case ``names``, and remove the files.

        With ``wait`` this takes until the others have finished or no longer live; cases that nobody did are then
        failed ones. Without, as after a cancellation, it takes what is there.
        """
        if wait:
            self._await_others()
        rows = {row["case"]: row for part in self._parts() for row in part["rows"]}
        if wait:
            lost = LostProcessError("The process that had this case ended before it was done.", "Run it again.")
            for name in names:
                rows.setdefault(name, {"status": "failed", "case": name, "input": "", "error": lost.to_dict()})
            shutil.rmtree(self._folder, ignore_errors=True)
        return [rows[name] for name in names if name in rows]

    def _await_others(self) -> None:
        seen: dict[int, tuple[str, float]] = {}
        waiting = set(range(1, self._ranks.size))
        while waiting:
            waiting -= {p["rank"] for p in self._parts() if p["finished"] and p["restarts"] >= self._ranks.restarts}
            for rank in sorted(waiting):
                beat = self._latest_beat(rank)
                if seen.get(rank, ("", 0.0))[0] != beat or rank not in seen:
                    seen[rank] = (beat, time.monotonic())
                elif time.monotonic() - seen[rank][1] > self._lost_after_s:
                    waiting.discard(rank)
            if waiting:
                time.sleep(min(0.1, self._beat_s))

    def _latest_beat(self, rank: int) -> str:
        beats = []
        for path in sorted(self._folder.glob(f"{rank}-*.beat")):
            with contextlib.suppress(OSError):
                beats.append(f"{path.name} {path.read_text()}")
        return " ".join(beats)
