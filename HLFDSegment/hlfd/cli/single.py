"""Segments one case after the other with one loaded model: read, segment, write, report."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.cli.cases import Case
from hlfd.cli.console import Console
from hlfd.config import SegmentSettings
from hlfd.errors import OutputError
from hlfd.events import CancelToken, Event, Warn
from hlfd.io import read_volume, write_label_map
from hlfd.volume import Volume

if TYPE_CHECKING:
    from hlfd.inference.result import SegmentationResult
    from hlfd.inference.segmenter import Segmenter
    from hlfd.report import Agreement


@dataclass(frozen=True)
class SegmentedCase:
    """One finished case."""

    case: Case
    result: SegmentationResult
    notice: str
    volume: Volume
    report: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome ready for JSON."""
        paths = {"case": self.case.name, "input": self.case.source, "output": self.case.target, "report": self.report}
        return {**paths, **self.result.to_dict(), "notice": self.notice}


def load_segmenter(settings: SegmentSettings) -> Segmenter:
    """Find the model package and load its networks."""
    from hlfd.inference.segmenter import Segmenter
    from hlfd.models.registry import find

    return Segmenter(find(settings.model), settings)


class CaseRunner:
    """Runs cases; the networks are loaded while the first image is read, and kept."""

    def __init__(
        self,
        settings: SegmentSettings,
        series: str | None,
        report_folder: Path | None,
        console: Console,
        cancel: CancelToken,
    ) -> None:
        self.report_folder = report_folder
        self._series = series
        self._console = console
        self._cancel = cancel
        self._begin = time.perf_counter()
        pool = ThreadPoolExecutor(1)
        self._segmenter: Future[Segmenter] = pool.submit(load_segmenter, settings)
        pool.shutdown(wait=False)

    def segmenter(self) -> Segmenter:
        """Return the loaded model; raises what went wrong while it was loaded."""
        return self._segmenter.result()

    def run(self, case: Case, report_folder: Path | None) -> SegmentedCase:
        """Segment a case and write its label map and, where a folder is given, its report."""
        begin = time.perf_counter()
        warnings: list[str] = []

        def listen(event: Event) -> None:
            if isinstance(event, Warn):
                warnings.append(event.message)
            self._console.on_event(event)

        volume = read_volume(case.source, self._series, listen)
        self._cancel.check()
        timing = {"read": time.perf_counter() - begin}
        result = self._segment(volume, timing)
        writing = time.perf_counter()
        make_folder(case.target.parent)
        self._cancel.check()
        write_label_map(result.label_map, case.target)
        timing["write"] = time.perf_counter() - writing
        stages = {name: seconds for name, seconds in result.timing.items() if name != "total"}
        timing = {"read": timing["read"], "load model": timing["load model"], **stages, "write": timing["write"]}
        timing["total"] = time.perf_counter() - begin
        result = replace(result, timing=timing, warnings=(*warnings, *result.warnings))
        done = SegmentedCase(case, result, self.segmenter().package.notice, volume)
        return done if report_folder is None else self.report(done, report_folder)

    def _segment(self, volume: Volume, timing: dict[str, float]) -> SegmentationResult:
        begin = time.perf_counter()
        segmenter = self.segmenter()
        timing["load model"] = time.perf_counter() - begin
        return segmenter.run(volume, lambda event: self._console.on_event(event), self._cancel)

    def report(self, done: SegmentedCase, folder: Path, agreement: Agreement | None = None) -> SegmentedCase:
        """Write the report of a finished case into ``folder``."""
        from hlfd.report import ReportInput, write_report

        source = ReportInput(
            name=done.case.name,
            source=done.case.source,
            segmentation=done.case.target,
            volume=done.volume,
            result=done.result,
            package=self.segmenter().package,
            agreement=agreement,
        )
        return replace(done, report=write_report(source, folder, self._console.on_event, self._cancel))


def make_folder(folder: Path) -> None:
    """Make a folder for results; raise ``OutputError`` where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'The folder "{folder}" cannot be made: {error.strerror}.', "Choose another OUT.") from error
