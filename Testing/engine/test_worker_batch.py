"""The job ``batch``: what the command ``segment IN OUT`` does, told as events."""

from __future__ import annotations

import numpy as np
import pytest

from hlfd.errors import EmptyInputError, UsageError
from hlfd.events import Progress, Stage, Warn
from hlfd.models.resources import sample_folder
from hlfd.worker.context import JobContext
from hlfd.worker.job_batch import EventConsole, run


def context(tmp_path, events, **arguments) -> JobContext:
    return JobContext(tmp_path, {key: str(value) for key, value in arguments.items()}, {}, events.append)


def test_both_folders_are_needed(tmp_path):
    with pytest.raises(UsageError, match="are needed"):
        run(context(tmp_path, [], source=tmp_path))


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyInputError, match="holds no image"):
        run(context(tmp_path, [], source=tmp_path / "in", target=tmp_path / "out"))


def test_progress_counts_all_cases():
    events: list = []
    console = EventConsole(events.append, 4)
    console.case("first (1 of 4)")
    console.on_event(Progress(1, 2))
    console.case("second (2 of 4)")
    console.on_event(Progress(1, 2))
    console.case("")
    console.note("second: failed: why")
    shares = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert shares == [0.125, 0.375]
    assert [event.name for event in events if isinstance(event, Stage)] == ["first (1 of 4)", "second (2 of 4)"]
    assert [event.message for event in events if isinstance(event, Warn)] == ["second: failed: why"]


def test_one_case_gets_a_table_too(tmp_path):
    pytest.importorskip("openvino")
    from hlfd.io import read_volume, write_volume
    from hlfd.volume import Volume

    whole, source = read_volume(sample_folder() / "sample_ct.nii.gz"), tmp_path / "in"
    source.mkdir()
    affine = whole.affine @ np.diag([3.0, 3.0, 3.0, 1.0])
    write_volume(Volume(np.ascontiguousarray(whole.array[::3, ::3, ::3]), affine, "a"), source / "a.nii.gz")
    answer = run(context(tmp_path, [], source=source, target=tmp_path / "out"))
    assert [case["case"] for case in answer["cases"]] == ["a"]
    assert answer["failed"] == []
    assert (tmp_path / "out" / "results.csv").is_file()
    assert (tmp_path / "out" / "a.nii.gz").is_file()
