"""The check names what is wrong with each case and goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hlfd.data.check import check_dataset
from hlfd.errors import EmptyInputError
from hlfd.events import Progress
from hlfd.io import write_label_map, write_volume
from hlfd.volume import LabelMap, Volume


@pytest.fixture
def dataset(tmp_path, ct_values):
    """A folder in KiTS layout with one sound case; returns a function that adds cases."""

    def add(number, values=ct_values, spacing=(0.8, 0.8, 3.0), label=None, label_spacing=None):
        folder = tmp_path / f"case_{number:05d}"
        folder.mkdir()
        if values is not None:
            write_volume(Volume(values, np.diag([*spacing, 1.0])), folder / "imaging.nii.gz")
        if label is not None:
            label_map = LabelMap(label, np.diag([*(label_spacing or spacing), 1.0]))
            write_label_map(label_map, folder / "segmentation.nii.gz")
        return folder

    sound = np.zeros(ct_values.shape, np.uint8)
    sound[3, 4:7, 4:6] = 1
    sound[3, 5, 5] = 2
    add(0, label=sound)
    return tmp_path, add, sound


def _codes(reports):
    return {report.id: [finding.code for finding in report.findings] for report in reports}


def test_a_sound_case_has_no_findings_and_its_numbers(dataset):
    (report,) = check_dataset(dataset[0])
    assert report.ok
    assert report.findings == ()
    assert report.shape == (8, 12, 10)
    assert report.spacing == pytest.approx((0.8, 0.8, 3.0))
    assert report.label_ml == {1: pytest.approx(5 * 1.92e-3, abs=1e-4), 2: pytest.approx(1.92e-3, abs=1e-4)}


def test_every_fault_has_its_own_code_and_the_check_goes_on(dataset, ct_values):
    folder, add, sound = dataset
    add(1, values=None, label=sound)
    add(2)
    add(3, label=sound, label_spacing=(0.8, 0.8, 2.0))
    add(4, label=sound[:4])
    add(5, label=np.where(sound == 2, 7, sound).astype(np.uint8))
    add(6, label=sound * 0)
    add(7, values=(ct_values + 1024).astype(np.int16), label=sound)
    broken = add(8, label=sound) / "imaging.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    add(9, spacing=(0.1, 0.1, 3.0), label=sound)
    add(10, spacing=(0.8, 0.8, 6.0), label=sound)
    events = []
    reports = check_dataset(folder, on_event=events.append)
    assert _codes(reports) == {
        "case_00000": [],
        "case_00001": ["image_missing_input"],
        "case_00002": ["label_missing_input"],
        "case_00003": ["geometry_mismatch"],
        "case_00004": ["geometry_mismatch"],
        "case_00005": ["unknown_value"],
        "case_00006": ["empty_label"],
        "case_00007": ["image_not_ct"],
        "case_00008": ["image_damaged_input"],
        "case_00009": ["odd_spacing"],
        "case_00010": ["thick_slices"],
    }
    assert [report.id[-2:] for report in reports if report.ok] == ["00", "09", "10"]
    assert events[-1] == Progress(11, 11)


def test_reports_are_json(dataset):
    text = json.dumps([report.to_dict() for report in check_dataset(dataset[0])])
    (row,) = json.loads(text)
    assert row["ok"] is True
    assert row["image"].endswith("imaging.nii.gz")


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(EmptyInputError):
        check_dataset(tmp_path)


def test_real_label_maps_have_the_values_of_kits(shared_data, tmp_path):
    label = shared_data / "kits19" / "case_00004.nii.gz"
    (tmp_path / "cases.csv").write_text(f"image,label\nmissing.nii.gz,{label}\n")
    (report,) = check_dataset(tmp_path / "cases.csv")
    assert [finding.code for finding in report.findings] == ["image_missing_input"]
    assert set(report.label_ml) == {1, 2}
