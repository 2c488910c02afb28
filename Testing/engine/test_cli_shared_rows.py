"""A folder of cases that several processes segment: each has its share, and one table tells of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hlfd.cli.shared_rows import SharedRows
from hlfd.io import write_volume
from hlfd.ranks import Ranks

CASES = [f"case{number}" for number in range(5)]


def row(name: str) -> dict[str, str]:
    return {"status": "ok", "case": name}


def rows_of(folder: Path, ranks: Ranks, end_after: int = 99, lost_after_s: float = 5.0):
    """Do the share of one process; ``end_after`` cases it ends without a word. Return the gathered rows."""
    with SharedRows(folder, ranks, beat_s=0.05, lost_after_s=lost_after_s) as shared:
        own = shared.own(CASES, str)
        for name in own[:end_after]:
            shared.add(row(name))
        if end_after < len(own):
            return None
        shared.finish()
        return shared.gather(CASES, wait=True) if ranks.main else None


def test_the_main_process_waits_and_puts_all_rows_in_the_order_of_the_cases(tmp_path):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(rows_of, tmp_path, Ranks(0, 3))
        time.sleep(0.2)
        for rank in (1, 2):
            pool.submit(rows_of, tmp_path, Ranks(rank, 3))
        assert first.result() == [row(name) for name in CASES]
    assert not (tmp_path / ".processes").exists()


def test_the_cases_of_a_process_that_ended_early_are_named_and_its_finished_ones_kept(tmp_path):
    assert rows_of(tmp_path, Ranks(1, 2), end_after=1) is None
    rows = rows_of(tmp_path, Ranks(0, 2), lost_after_s=0.3)
    assert [(entry["case"], entry["status"]) for entry in rows] == [
        *(("case0", "ok"), ("case1", "ok"), ("case2", "ok"), ("case3", "failed"), ("case4", "ok")),
    ]
    assert rows[3]["error"]["code"] == "process_lost"


def test_processes_that_were_started_again_share_what_is_left(tmp_path):
    for rank in (0, 1):
        rows_of(tmp_path, Ranks(rank, 2, run="job"), end_after=1)
    again = [SharedRows(tmp_path, Ranks(rank, 3, run="job", restarts=1)).own(CASES, str) for rank in range(3)]
    assert again == [["case2"], ["case3"], ["case4"]]
    other_job = SharedRows(tmp_path, Ranks(0, 1, run="another", restarts=1))
    assert other_job.own(CASES, str) == CASES


class TestSegment:
    @pytest.fixture
    def cts(self, patient, tmp_path) -> Path:
        (tmp_path / "in").mkdir()
        for name in CASES[:3]:
            write_volume(patient[0], tmp_path / "in" / f"{name}.nii.gz")
        return tmp_path / "in"

    def start(self, models_folder: Path, folder: Path, rank: int, *options: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "HLFD_MODELS": str(models_folder), "RANK": str(rank), "WORLD_SIZE": "2"}
        command = [sys.executable, "-m", "hlfd", "segment", "in", "out", "--model", "exact", "--threads", "1", *options]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, cwd=folder, env=environment, **streams)

    def test_two_processes_write_all_label_maps_and_one_table(self, cts, models_folder):
        processes = [self.start(models_folder, cts.parent, rank, "--json") for rank in (0, 1)]
        outputs = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
        table = json.loads(outputs[0][0])
        assert [entry["case"] for entry in table["cases"]] == CASES[:3]
        assert outputs[1][0] == ""
        assert sorted(path.name for path in (cts.parent / "out").iterdir()) == [
            *(f"{name}.nii.gz" for name in CASES[:3]),
            *("results.csv", "results.json"),
        ]

    @pytest.mark.slow  # the other process is waited for until it counts as lost
    @pytest.mark.skipif(os.name != "posix", reason="SIGKILL is needed")
    def test_a_killed_process_leaves_the_results_of_the_others(self, cts, models_folder):
        victim = self.start(models_folder, cts.parent, 1)
        while not (cts.parent / "out" / ".processes").exists():
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        main = self.start(models_folder, cts.parent, 0)
        out, err = main.communicate(timeout=300)
        assert main.returncode == 1, err
        assert "Failed: case1" in out
        rows = json.loads((cts.parent / "out" / "results.json").read_text())["cases"]
        assert [entry["status"] for entry in rows] == ["ok", "failed", "ok"]
