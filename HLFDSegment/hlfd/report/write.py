"""Writes a report folder: report.html, measurements.csv and the pictures."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from hlfd.errors import OutputError
from hlfd.events import CancelToken, OnEvent, Stage, ignore
from hlfd.report.content import ReportInput
from hlfd.report.page import make_page
from hlfd.report.pictures import take_pictures

_COLUMNS = (
    *("kind", "number", "name", "side", "value", "voxels", "volume_ml", "longest_diameter_mm"),
    *("axial_long_mm", "axial_short_mm", "hu_mean", "hu_sd", "centroid_r_mm", "centroid_a_mm", "centroid_s_mm"),
    "confidence",
)


def write_report(
    source: ReportInput, folder: Path, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> Path:
    """Write the report of one result into ``folder`` and return the path of report.html.

    Files appear when all are complete; older ones of the same names are replaced. Raises ``OutputError`` when the
    folder cannot be written and ``CancelledError``.
    """
    on_event(Stage("report"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".report-", dir=folder))
        try:
            pictures = take_pictures(source, scratch, on_event, cancel)
            (scratch / "measurements.csv").write_text(measurements_csv(source), encoding="utf-8")
            (scratch / "report.html").write_text(make_page(source, pictures), encoding="utf-8")
            for path in sorted(scratch.iterdir(), key=lambda path: path.name == "report.html"):
                os.replace(path, folder / path.name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f'The report cannot be written to "{folder}": {error.strerror or error}.', "Choose another folder."
        ) from error
    return folder / "report.html"


def measurements_csv(source: ReportInput) -> str:
    """Return structures and lesions as CSV with a header line; empty cells where nothing could be measured."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for structure in source.result.structures:
        writer.writerow({"kind": "structure", **asdict(structure)})
    for lesion in source.result.lesions:
        row = {"kind": "lesion", **asdict(lesion)}
        position = row.pop("centroid_ras")
        row |= dict(zip(("centroid_r_mm", "centroid_a_mm", "centroid_s_mm"), position))
        writer.writerow(row)
    return text.getvalue()
