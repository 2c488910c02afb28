"""What ``segment IN OUT`` takes IN and OUT for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hlfd.cli.cases import plan
from hlfd.errors import EmptyInputError, MissingInputError, UsageError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def _dicom(*paths: Path) -> None:
    _touch(*paths)
    for path in paths:
        path.write_bytes(bytes(128) + b"DICM")


def _names(source: Path, target: Path) -> list[str]:
    return [case.name for case in plan(source, target).cases]


def test_a_file_is_one_case_and_out_its_file_or_folder(tmp_path):
    _touch(tmp_path / "ct.nii.gz")
    assert plan(tmp_path / "ct.nii.gz", tmp_path / "o.seg.nrrd").cases[0].target == tmp_path / "o.seg.nrrd"
    assert plan(tmp_path / "ct.nii.gz", tmp_path / "out").cases[0].target == tmp_path / "out" / "ct.nii.gz"
    assert plan(tmp_path / "ct.nii.gz", tmp_path / "out").folder is None


def test_a_folder_of_dicom_slices_is_one_case(tmp_path):
    _dicom(tmp_path / "scan" / "1", tmp_path / "scan" / "2.dcm")
    _touch(tmp_path / "scan" / "notes.txt")
    job = plan(tmp_path / "scan", tmp_path / "out.nii.gz")
    assert job.folder is None
    assert job.cases[0].source == tmp_path / "scan"


def test_a_folder_of_images_holds_many_cases_without_label_maps(tmp_path):
    _touch(*(tmp_path / "in" / name for name in ("a.nii.gz", "b.mha", "c.seg.nrrd", "segmentation.nii.gz", ".d.nii")))
    job = plan(tmp_path / "in", tmp_path / "out")
    assert [(case.name, case.target.name) for case in job.cases] == [("a", "a.nii.gz"), ("b", "b.nii.gz")]
    assert job.folder == tmp_path / "out"


def test_case_folders_are_taken_as_kits_and_dicom_exports_lay_them_out(tmp_path):
    root = tmp_path / "in"
    _touch(root / "case_00000" / "imaging.nii.gz", root / "case_00000" / "segmentation.nii.gz")
    _dicom(root / "patient1" / "1.dcm", root / "patient2" / "series" / "1.dcm")
    _dicom(root / "patient3" / "a" / "1.dcm", root / "patient3" / "b" / "1.dcm")
    assert _names(root, tmp_path / "out") == ["case_00000", "patient1", "patient2", "patient3_a", "patient3_b"]


def test_cases_of_one_name_stay_apart(tmp_path):
    _touch(tmp_path / "in" / "a.nii", tmp_path / "in" / "a.mha")
    assert _names(tmp_path / "in", tmp_path / "out") == ["a_mha", "a_nii"]


def test_one_dicom_series_in_a_subfolder_may_go_to_a_file(tmp_path):
    _dicom(tmp_path / "study" / "series" / "1.dcm")
    assert plan(tmp_path / "study", tmp_path / "out.nii.gz").folder is None


def test_what_does_not_fit_is_refused(tmp_path):
    _touch(tmp_path / "in" / "a.nii.gz", tmp_path / "in" / "b.nii.gz", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError):
        plan(tmp_path / "none", tmp_path / "out")
    with pytest.raises(EmptyInputError, match="holds no image"):
        plan(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UsageError, match="2 cases"):
        plan(tmp_path / "in", tmp_path / "out.nii.gz")
    with pytest.raises(UsageError, match="image itself"):
        plan(tmp_path / "in" / "a.nii.gz", tmp_path / "in" / "a.nii.gz")
    with pytest.raises(UsageError, match="folder of the images"):
        plan(tmp_path / "in", tmp_path / "in")
    with pytest.raises(UsageError, match="without an image suffix"):
        plan(tmp_path / "in" / "a.nii.gz", tmp_path / "file")
