"""The command line as a process: streams, signals, and what it imports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hlfd.io import write_volume
from hlfd.volume import Volume

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")


@pytest.fixture
def environment(models_folder) -> dict[str, str]:
    return {**os.environ, "HLFD_MODELS": str(models_folder)}


@pytest.fixture
def large_ct(patient, tmp_path) -> Path:
    """A CT whose segmentation takes long enough to be interrupted."""
    volume = patient[0]
    affine = volume.affine.copy()
    affine[:3, :3] /= 3
    path = tmp_path / "ct.nrrd"
    write_volume(Volume(np.repeat(np.repeat(np.repeat(volume.array, 3, 0), 3, 1), 3, 2), affine), path)
    return path


def test_json_owns_stdout(environment, patient, tmp_path):
    write_volume(patient[0], tmp_path / "ct.nii.gz")
    command = [sys.executable, "-m", "hlfd", "segment", "ct.nii.gz", "out.nii.gz", "--model", "exact", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == "out.nii.gz"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_partial_output(environment, large_ct, tmp_path, number):
    target = tmp_path / "out"
    command = [sys.executable, "-m", "hlfd", "segment", str(large_ct), str(target / "o.nii.gz"), "--model", "exact"]
    process = subprocess.Popen(
        [*command, "--mode", "box", "--threads", "1", "--report", str(target / "report")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and "hlfd.cli" not in _loaded(process.pid):
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "hlfd: Cancelled by the user."
    assert not target.exists() or [path for path in target.rglob("*") if path.is_file()] == []


def _loaded(pid: int) -> str:
    """Return a word once the process handles the signal itself, which it does from its first lines on."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "hlfd.cli"
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), "0")
    handled = int(caught, 16)
    return "hlfd.cli" if handled >> (signal.SIGTERM - 1) & 1 else ""


def test_segment_without_a_terminal_imports_no_display_or_training_library(environment, patient, tmp_path):
    write_volume(patient[0], tmp_path / "ct.nii.gz")
    code = (
        "import sys; from hlfd.cli.main import run; "
        "code = run(['segment', 'ct.nii.gz', 'out.nii.gz', '--model', 'exact']); "
        "print(code, sorted({'torch', 'monai', 'rich', 'yaml', 'scipy', 'slicer'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
