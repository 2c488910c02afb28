"""Writes what a comparison found: results.json (raw), table.md, table.csv and report.html."""

from __future__ import annotations

from typing import Any

from hlfd.compare.page import make_page
from hlfd.compare.results import collect
from hlfd.compare.settings import CompareSettings
from hlfd.compare.table import comma_separated, markdown
from hlfd.files import write_json, write_text


def write_results(settings: CompareSettings, record: dict[str, Any]) -> dict[str, Any]:
    """Write all files into the folder of the comparison and return the results.

    ``record`` is that of the data. Raises ``InputError`` when no method is finished and ``OutputError``.
    """
    results = collect(settings, record)
    write_json(settings.folder / "results.json", results)
    texts = {"table.md": markdown(results), "table.csv": comma_separated(results), "report.html": make_page(results)}
    for name, text in texts.items():
        write_text(settings.folder / name, text)
    return results
