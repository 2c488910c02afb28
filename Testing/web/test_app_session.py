"""The process of one session: tells its port, answers only who knows its secret, ends when its owner is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from hlfd_web.front.guard import HEADER, VARIABLE

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def session(tmp_path):
    pytest.importorskip("trame_slicer")
    paths = [str(PROJECT / name) for name in ("WebApp", "HLFDTrain", "HLFDSegment")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: "secret", "OMP_NUM_THREADS": "1"}
    options = ["--folder", str(tmp_path / "private"), "--data-root", str(tmp_path / "root"), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hlfd_web.session", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    yield process
    process.kill()
    process.wait()


def get(port: int, secret: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/index.html", headers={HEADER: secret})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_session_serves_who_knows_its_secret_and_ends_with_its_owner(session):
    port = json.loads(session.stdout.readline())["port"]
    listening = [one.laddr.ip for one in psutil.Process(session.pid).net_connections() if one.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    assert get(port, "secret") == 200
    assert get(port, "guess") == get(port, "") == 403
    session.stdin.close()
    assert session.wait(60) == 0


def test_a_data_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    done = subprocess.run(
        [sys.executable, "-m", "hlfd_web.session", "--folder", str(tmp_path), "--data-root", str(tmp_path / "file/x")],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(PROJECT / n) for n in ("WebApp", "HLFDTrain"))},
        timeout=120,
    )
    assert done.returncode == 2
    assert "cannot be made" in done.stderr
    assert "Traceback" not in done.stderr
