"""Many CTs: a folder in, label maps and a table out."""

from __future__ import annotations

import shutil

import pytest

from hlfd.io import read_volume, write_volume
from hlfd.volume import Volume


@pytest.fixture
def folder(tmp_path, person):
    """A folder with one small CT and one file that is none."""
    import numpy as np
    from conftest import SAMPLE

    whole, source = read_volume(SAMPLE), tmp_path / "cts"
    source.mkdir()
    affine = whole.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    write_volume(Volume(np.ascontiguousarray(whole.array[::2, ::2, ::2]), affine, "a"), source / "a.nii.gz")
    (source / "b.nii.gz").write_bytes(b"no image")
    return source


def choose(person, source, target) -> None:
    person.ui.batchSection.collapsed = False
    person.ui.batchInput.currentPath = str(source)
    person.ui.batchOutput.currentPath = str(target)


def test_a_folder_becomes_label_maps_and_a_table_and_bad_files_are_named(person, folder, tmp_path):
    choose(person, folder, tmp_path / "results")
    person.click(person.ui.batchButton)
    assert not person.ui.batchButton.enabled
    person.wait_until(lambda: person.ui.batchButton.enabled, 90)
    assert person.ui.batchLabel.text.startswith("1 of 2 cases done.")
    assert (tmp_path / "results" / "a.nii.gz").is_file()
    table = person.ui.batchTable
    shown = {table.item(row, 0).text(): table.item(row, 1).text() for row in range(table.rowCount)}
    assert shown == {"a": "ok", "b": "failed"}
    assert "b: failed" in person.ui.logText.toPlainText()
    person.picture("panel-batch")


def test_no_folder_is_answered_in_words(person):
    person.click(person.ui.batchButton)
    person.wait_until(lambda: person.ui.batchButton.enabled)
    assert "A folder of CTs and a folder for the results are needed." in person.dialogs.shown[-1]


def test_cancel_leaves_no_half_case(person, folder, tmp_path):
    for number in range(6):
        shutil.copy(folder / "a.nii.gz", folder / f"more{number}.nii.gz")
    choose(person, folder, tmp_path / "results")
    person.click(person.ui.batchButton)
    person.wait_until(lambda: person.ui.batchBar.maximum > 0)
    person.click(person.ui.batchCancelButton)
    person.wait_until(lambda: person.ui.batchButton.enabled)
    assert person.ui.batchLabel.text.startswith("Cancelled")
    finished = list((tmp_path / "results").glob("*.nii.gz"))
    assert len(finished) < 7
    for path in finished:
        read_volume(path)
