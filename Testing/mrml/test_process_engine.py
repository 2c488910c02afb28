"""The engine in a process of its own gives the child's result, its errors, and no process that is left behind."""

from __future__ import annotations

import os
import sys
import threading
import time

import numpy as np
import pytest

from hlfd.errors import CancelledError, GeometryError, HlfdError, ModelError
from hlfd.events import CancelToken, Progress, Stage, Warn
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import Volume
from HLFDSegmentLib.process_engine import ProcessEngine

CHILD = """
import json, os, sys, time
import numpy as np
from hlfd.inference.result import Lesion, SegmentationResult, Structure
from hlfd.io import read_volume, write_label_map
from hlfd.labels import KIDNEY_LABELS
from hlfd.volume import LabelMap

assert sys.argv[1:4] == ["-m", "hlfd", "segment"], sys.argv
source, target = sys.argv[4:6]
mode = sys.argv[sys.argv.index("--model") + 1]
if mode == "refuses":
    print(json.dumps({"error": {"code": "bad_geometry", "message": "The affine is odd.", "remedy": "Resample."}}))
    sys.exit(1)
if mode == "falls":
    print("out of luck", file=sys.stderr)
    os._exit(9)
if mode == "hangs":
    open(os.environ["HLFD_TEST_PID"], "w").write(str(os.getpid()))
    time.sleep(60)
print("warning: only a threshold", file=sys.stderr)
print("case segment: 40 %, 2 s left", file=sys.stderr)
volume = read_volume(source)
labels = LabelMap((volume.array > 100).astype(np.uint8), volume.affine, KIDNEY_LABELS)
write_label_map(labels, target)
structure = Structure("left kidney", 1, 8, 0.5, 10.0, None, None)
lesion = Lesion(1, "kidney tumor", 2, "left", 1.0, 9.0, 8.0, 7.0, 150.0, 0.0, (1.0, 2.0, 3.0))
result = SegmentationResult(
    labels, (structure,), (lesion,), "threshold", "1", True, "cpu", "numpy", "box", {"total": 1.0}, ("careful",),
    (((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),),
)
print(json.dumps({"command": "segment", "output": target, **result.to_dict()}))
"""


@pytest.fixture
def python(tmp_path):
    """An interpreter whose ``-m hlfd segment`` calls everything above 100 HU left kidney."""
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    return [sys.executable, str(script)]


@pytest.fixture
def volume():
    array = np.full((10, 12, 14), -200, np.int16)
    array[2:6, 3:7, 4:9] = 150
    affine = np.diag([-0.7, 0.8, 2.5, 1.0])
    affine[:3, 3] = [11.0, -22.0, 33.0]
    return Volume(array, affine)


def test_the_childs_result_comes_back_whole(python, volume):
    events = []
    result = ProcessEngine(python, "threshold").run(volume, events.append, CancelToken())
    assert np.array_equal(result.label_map.array, volume.array > 100)
    assert np.array_equal(result.label_map.affine, volume.affine)
    assert result.label_map.labels == KIDNEY_LABELS
    assert result.structures[0].hu_mean is None
    assert result.lesions[0].centroid_ras == (1.0, 2.0, 3.0)
    assert result.regions == (((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),)
    assert (result.model, result.warnings) == ("threshold", ("careful",))
    assert [event for event in events if not isinstance(event, Stage)] == [
        Warn("only a threshold"),
        Progress(40.0, 100.0),
    ]


def test_the_childs_error_keeps_its_kind_and_remedy(python, volume):
    with pytest.raises(GeometryError, match="affine is odd") as caught:
        ProcessEngine(python, "refuses").run(volume)
    assert caught.value.remedy == "Resample."


def test_a_child_that_falls_is_reported_with_its_last_words(python, volume):
    with pytest.raises(HlfdError, match="out of luck"):
        ProcessEngine(python, "falls").run(volume)


def test_a_missing_interpreter_is_reported(volume):
    with pytest.raises(HlfdError, match="could not be started"):
        ProcessEngine(["/nowhere/python"]).run(volume)


@pytest.mark.skipif(os.name != "posix", reason="looks at the process table by signal 0")
def test_cancelling_ends_the_child(python, volume, tmp_path, monkeypatch):
    pid_file, cancel = tmp_path / "pid", CancelToken()
    monkeypatch.setenv("HLFD_TEST_PID", str(pid_file))

    def cancel_when_started():
        while not (pid_file.exists() and pid_file.read_text()):
            time.sleep(0.02)
        cancel.cancel()

    threading.Thread(target=cancel_when_started, daemon=True).start()
    with pytest.raises(CancelledError):
        ProcessEngine(python, "hangs").run(volume, cancel=cancel)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_real_command_line_names_an_unknown_model(volume):
    with pytest.raises(ModelError):
        ProcessEngine([sys.executable], "no-such-model").run(volume)
