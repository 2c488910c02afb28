"""A folder of many cases: label maps, results.csv and results.json; a bad case does not stop the others."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hlfd.cli.cases import Case, Job
from hlfd.cli.console import Console
from hlfd.cli.failures import internal_error
from hlfd.cli.plain import plain
from hlfd.cli.shared_rows import SharedRows
from hlfd.cli.single import CaseRunner, make_folder
from hlfd.errors import CancelledError, HlfdError, InputError, OutputError
from hlfd.files import write_text
from hlfd.ranks import Ranks, current_ranks
from hlfd.words import duration


def run_batch(job: Job, runner: CaseRunner, console: Console) -> int:
    """Segment all cases and return the exit code: 0, or 1 when some failed.

    Errors of the image are a case's own; an unusable model or a full disk stops the whole run. After a cancellation
    the tables hold the finished cases. Several processes (``torchrun``, or RANK and WORLD_SIZE in the environment)
    share the cases, and the main one writes the tables.
    """
    assert job.folder is not None
    make_folder(job.folder)
    ranks = current_ranks()
    if ranks.size > 1:
        return _run_shared(job, job.folder, ranks, runner, console)
    rows: list[dict[str, Any]] = []
    try:
        _run_cases(job.cases, runner, console, rows.append)
    finally:
        write_tables(job.folder, rows)
    return _finish(job.folder, rows, console)


def _run_shared(job: Job, folder: Path, ranks: Ranks, runner: CaseRunner, console: Console) -> int:
    """Segment this process's share of the cases; in the main process wait for the others and write the tables."""
    names = [case.name for case in job.cases]
    with SharedRows(folder, ranks) as shared:
        done = False
        try:
            _run_cases(shared.own(job.cases, lambda case: case.name), runner, console, shared.add)
            shared.finish()
            done = True
        finally:
            rows = shared.gather(names, wait=done) if ranks.main else []
            if ranks.main:
                write_tables(folder, rows)
    return _finish(folder, rows, console) if ranks.main else shared.exit_code


def _run_cases(
    cases: Sequence[Case], runner: CaseRunner, console: Console, add: Callable[[dict[str, Any]], None]
) -> None:
    """Segment one case after the other; ``add`` gets a row for each."""
    runner.segmenter()
    begin = time.perf_counter()
    try:
        for number, case in enumerate(cases, start=1):
            left = (time.perf_counter() - begin) / (number - 1) * (len(cases) - number + 1) if number > 1 else None
            rest = f", {duration(left)} left in all" if left else ""
            console.case(f"{case.name} ({number} of {len(cases)}{rest})")
            report = runner.report_folder / case.name if runner.report_folder else None
            try:
                add({"status": "ok", **runner.run(case, report).to_dict()})
            except CancelledError:
                raise
            except (InputError, OutputError) as error:
                add(_failed(case.name, case.source, error, console))
                if error.code == "disk_full":
                    raise
            except HlfdError:
                raise
            except Exception as error:  # a fault of the program in one case does not stop the others
                add(_failed(case.name, case.source, internal_error(error), console))
    finally:
        console.case("")


def _failed(name: str, source: Path, error: HlfdError, console: Console) -> dict[str, Any]:
    console.note(f"{name}: failed: {error}")
    return {"status": "failed", "case": name, "input": source, "error": error.to_dict()}


def _finish(folder: Path, rows: list[dict[str, Any]], console: Console) -> int:
    failed = [row["case"] for row in rows if row["status"] != "ok"]
    console.say(f"{len(rows) - len(failed)} of {len(rows)} cases done; tables: {folder / 'results.csv'} and .json")
    if failed:
        console.say(f"Failed: {', '.join(failed)}")
    tables = {"csv": folder / "results.csv", "json": folder / "results.json"}
    console.result({"command": "segment", "cases": rows, "failed": failed, **tables})
    return 1 if failed else 0


def write_tables(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write results.csv (one line per case) and results.json (everything) of the finished cases."""
    write_text(folder / "results.json", json.dumps(plain({"cases": rows}), indent=1, allow_nan=False) + "\n")
    flat = [_flat(row) for row in rows]
    fields = list(dict.fromkeys(name for row in flat for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text(folder / "results.csv", table.getvalue())


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return one line of the table: volumes per structure, and counts and the largest diameter of lesions."""
    line = {"case": row["case"], "status": row["status"], "message": row.get("error", {}).get("message", "")}
    if row["status"] != "ok":
        return line
    for structure in row["structures"]:
        line[f"{structure['name']} ml"] = f"{structure['volume_ml']:.3f}"
    for name in dict.fromkeys(s["name"] for s in row["structures"] if s["name"].endswith(("tumor", "cyst"))):
        sizes = [lesion["longest_diameter_mm"] for lesion in row["lesions"] if lesion["name"] == name]
        line[f"{name} count"] = str(len(sizes))
        line[f"{name} largest mm"] = f"{max(sizes):.1f}" if sizes else ""
    used = {key: row[key] for key in ("model", "model_version", "backend", "device", "mode")}
    return {**line, **used, "seconds": f"{row['timing']['total']:.2f}", "warnings": " ".join(row["warnings"])}
