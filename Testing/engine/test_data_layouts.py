"""Cases are found in the layouts of the public data sets."""

from __future__ import annotations

import json

import pytest

from hlfd.data.layouts import find_cases
from hlfd.errors import EmptyInputError, InputError, MissingInputError


def _touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_kits_folders(tmp_path):
    _touch(tmp_path, "case_00000/imaging.nii.gz", "case_00000/segmentation.nii.gz", "case_00210/imaging.nii.gz")
    first, test_case = find_cases(tmp_path)
    assert (first.id, first.image.name, first.label.name) == ("case_00000", "imaging.nii.gz", "segmentation.nii.gz")
    assert (test_case.id, test_case.label) == ("case_00210", None)


def test_kits21_and_23_keep_cases_in_a_dataset_folder(tmp_path):
    _touch(tmp_path, "dataset/case_00003/imaging.nii.gz", "dataset/case_00003/aggregated_MAJ_seg.nii.gz")
    (case,) = find_cases(tmp_path)
    assert case.label.name == "aggregated_MAJ_seg.nii.gz"


def test_a_kits_case_without_image_is_still_a_case(tmp_path):
    _touch(tmp_path, "case_00001/segmentation.nii.gz")
    (case,) = find_cases(tmp_path)
    assert not case.image.exists()


def test_lits_files_pair_by_number(tmp_path):
    _touch(tmp_path, "batch 1/volume-2.nii", "batch 1/segmentation-2.nii", "batch 2/volume-10.nii.gz")
    cases = find_cases(tmp_path)
    assert [case.id for case in cases] == ["volume-2", "volume-10"]
    assert cases[0].label.name == "segmentation-2.nii"
    assert cases[1].label is None


def test_msd_lists_its_pairs(tmp_path):
    _touch(tmp_path, "imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz", "imagesTr/._liver_1.nii.gz")
    row = {"image": "./imagesTr/liver_1.nii.gz", "label": "./labelsTr/liver_1.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [row], "test": ["./imagesTs/liver_2.nii.gz"]}))
    (case,) = find_cases(tmp_path)
    assert case.id == "liver_1"
    assert case.image.is_file()
    assert case.label.is_file()


def test_nnunet_names_carry_a_channel(tmp_path):
    _touch(tmp_path, "imagesTr/a_001_0000.nii.gz", "imagesTr/a_001_0001.nii.gz", "labelsTr/a_001.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "numTraining": 1}))
    (case,) = find_cases(tmp_path)
    assert (case.id, case.image.name, case.label.name) == ("a_001", "a_001_0000.nii.gz", "a_001.nii.gz")


def test_csv_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "cases.csv").write_text("image,label\na.nii.gz,b.nii.gz\nsub/c.nrrd,\n", encoding="utf-8")
    first, second = find_cases(tmp_path / "cases.csv")
    assert (first.id, first.image, first.label) == ("a", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    assert (second.id, second.label) == ("c", None)


def test_what_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(MissingInputError):
        find_cases(tmp_path / "none")
    with pytest.raises(EmptyInputError, match="no cases of a known layout"):
        find_cases(tmp_path)
    (tmp_path / "bad.csv").write_text("scan,mask\na,b\n")
    with pytest.raises(InputError, match='"image" and "label"'):
        find_cases(tmp_path / "bad.csv")
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json"):
        find_cases(tmp_path)
