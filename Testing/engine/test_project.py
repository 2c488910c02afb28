"""A project keeps labelled cases: each is whole or not there, and what does not fit is refused with the reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hlfd.data.layouts import find_cases
from hlfd.errors import (
    CancelledError,
    ConfigError,
    DamagedInputError,
    DiskFullError,
    MissingInputError,
    UsageError,
)
from hlfd.events import CancelToken, Progress
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.models.package import load_package
from hlfd.project import Project
from hlfd.volume import LabelMap, Volume


@pytest.fixture(scope="session")
def package(models_folder):
    return load_package(models_folder / "exact" / "1.0.0")


@pytest.fixture
def project(tmp_path, package):
    return Project.create(tmp_path / "project", package, "Ours")


def other(volume: Volume, shift: int) -> Volume:
    """Return another image on the same grid."""
    return Volume((volume.array + np.int16(shift)).clip(-1024, None), volume.affine, volume.name)


def test_a_new_project_keeps_the_labels_of_its_model(project, package):
    opened = Project.open(project.folder)
    assert (opened.name, opened.model, opened.labels) == ("Ours", "exact", package.labels)
    assert opened.cases == ()


def test_a_folder_that_holds_something_is_no_place_for_a_project(tmp_path, package, project):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        Project.create(tmp_path / "full", package)
    with pytest.raises(UsageError, match="holds a project already"):
        Project.create(project.folder, package)


def test_a_case_is_stored_as_it_was_given(project, ct_volume, kidney_map):
    info = project.add(ct_volume, kidney_map, " My case ", {"kind": "scene"})
    (case,) = Project.open(project.folder).cases
    assert case == info
    assert (case.id, case.title, case.role, case.source) == ("case-0001", "My case", "train", {"kind": "scene"})
    image, labels = read_volume(case.image), read_label_map(case.label, KIDNEY_LABELS)
    assert np.array_equal(image.array, ct_volume.array)
    assert np.array_equal(labels.array, kidney_map.array)
    assert image.same_grid(ct_volume)
    assert labels.same_grid(ct_volume)
    assert case.volumes_ml["kidney tumor"] == pytest.approx(ct_volume.voxel_ml, rel=1e-3)
    assert case.thumbnail.read_bytes().startswith(b"\x89PNG")


def test_float_images_become_whole_hu(project, ct_volume, kidney_map):
    image = Volume(ct_volume.array.astype(np.float32) + np.float32(0.3), ct_volume.affine)
    info = project.add(image, kidney_map)
    assert np.array_equal(read_volume(info.image).array, ct_volume.array)


def test_file_names_tell_nothing_of_the_patient(project, ct_volume, kidney_map):
    project.add(replace(ct_volume, name="Doe^John"), kidney_map, "Doe^John")
    names = {path.name for path in (project.folder / "cases").rglob("*")}
    assert names == {"case-0001", "case.json", "image.nii", "label.nii.gz", "thumbnail.png"}


def test_progress_ends_at_the_whole(project, ct_volume, kidney_map):
    events = []
    project.add(ct_volume, kidney_map, on_event=events.append)
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert progress[-1].done == progress[-1].total


def test_labels_are_updated_and_the_ones_before_stay_for_who_reads_them(project, ct_volume, kidney_map):
    first = project.add(ct_volume, kidney_map)
    corrected = kidney_map.array.copy()
    corrected[3, 4, 5] = 2
    second = project.update(first.id, LabelMap(corrected, kidney_map.affine))
    assert np.array_equal(read_label_map(second.label).array, corrected)
    assert first.label.exists()
    assert second.volumes_ml["kidney tumor"] == pytest.approx(2 * first.volumes_ml["kidney tumor"], rel=1e-3)
    third = project.update(first.id, kidney_map)
    assert not first.label.exists()
    assert second.label.exists()
    assert Project.open(project.folder).case(first.id) == third
    assert third.image == first.image


def test_roles_and_titles_are_kept(project, ct_volume, kidney_map):
    project.add(ct_volume, kidney_map)
    project.set_role("case-0001", "test")
    project.set_title("case-0001", "Second reading")
    case = Project.open(project.folder).case("case-0001")
    assert (case.role, case.title) == ("test", "Second reading")
    with pytest.raises(ConfigError, match='Did you mean "train"'):
        project.set_role("case-0001", "trian")


def test_a_removed_case_is_put_aside_and_its_number_not_used_again(project, ct_volume, kidney_map):
    project.add(ct_volume, kidney_map)
    where = project.remove("case-0001")
    assert (where / "image.nii").is_file()
    assert project.cases == ()
    assert project.add(ct_volume, kidney_map).id == "case-0002"
    with pytest.raises(UsageError, match='no case "case-0001"'):
        project.remove("case-0001")


def test_a_project_is_a_data_set_of_the_cases_that_are_used(project, ct_volume, kidney_map):
    for shift in range(3):
        project.add(other(ct_volume, shift), kidney_map)
    project.set_role("case-0002", "unused")
    assert [case.id for case in find_cases(project.folder)] == ["case-0001", "case-0003"]
    assert all(case.image.is_file() and case.label.is_file() for case in find_cases(project.folder))


def test_one_bad_case_is_named_and_the_others_open(project, ct_volume, kidney_map):
    for shift in range(3):
        project.add(other(ct_volume, shift), kidney_map)
    (project.folder / "cases" / "case-0001" / "case.json").write_text("{")
    (project.folder / "cases" / "case-0003" / "image.nii").unlink()
    opened = Project.open(project.folder)
    assert [case.id for case in opened.cases] == ["case-0002"]
    assert "damaged" in opened.problems["case-0001"]
    assert "lacks image.nii" in opened.problems["case-0003"]


def test_what_is_no_project_says_so(tmp_path, project):
    with pytest.raises(MissingInputError, match="is no project"):
        Project.open(tmp_path / "nothing")
    (project.folder / "project.json").write_text("[]")
    with pytest.raises(DamagedInputError):
        Project.open(project.folder)
    (project.folder / "project.json").write_text(json.dumps({"schema": 9}))
    with pytest.raises(DamagedInputError, match="schema 9"):
        Project.open(project.folder)


def test_a_cancelled_add_leaves_nothing(project, ct_volume, kidney_map):
    token = CancelToken()

    def cancel_late(event):
        if isinstance(event, Progress) and event.done >= 4:
            token.cancel()

    with pytest.raises(CancelledError):
        project.add(ct_volume, kidney_map, on_event=cancel_late, cancel=token)
    assert list((project.folder / "cases").iterdir()) == []


def test_a_project_that_other_processes_changed_is_not_overwritten(project, ct_volume, kidney_map):
    second = Project.open(project.folder)
    project.add(ct_volume, kidney_map)
    assert second.add(other(ct_volume, 1), kidney_map).id == "case-0002"
    project.reload()
    project.update("case-0001", kidney_map)
    second.set_role("case-0001", "test")  # knows nothing of the update
    case = Project.open(project.folder).case("case-0001")
    assert (case.role, case.label.name) == ("test", "label-2.nii.gz")


def test_a_data_set_is_imported_case_by_case(project, tmp_path, ct_volume, kidney_map):
    for number, labels in enumerate((kidney_map.array, kidney_map.array * 0, kidney_map.array + 40), 1):
        folder = tmp_path / "kits" / f"case_0000{number}"
        folder.mkdir(parents=True)
        write_volume(other(ct_volume, number), folder / "imaging.nii.gz")
        write_label_map(LabelMap(labels, kidney_map.affine), folder / "segmentation.nii.gz")
    (tmp_path / "kits" / "case_00004").mkdir()
    (tmp_path / "kits" / "case_00005").mkdir()
    write_volume(other(ct_volume, 5), tmp_path / "kits" / "case_00005" / "imaging.nii.gz")
    part = LabelMap(kidney_map.array[:6], kidney_map.affine)
    write_label_map(part, tmp_path / "kits" / "case_00005" / "segmentation.nii.gz")
    write_volume(other(ct_volume, 4), tmp_path / "kits" / "case_00004" / "imaging.nii.gz")
    reports = project.check_import(tmp_path / "kits")
    assert [report.ok for report in reports] == [True, False, False, False, False]
    added, refused = project.import_folder(tmp_path / "kits")
    assert [(case.id, case.title) for case in added] == [("case-0001", "case_00001")]
    assert list(refused) == ["case_00002", "case_00003", "case_00004", "case_00005"]
    assert "background only" in refused["case_00002"]
    assert "does not know" in refused["case_00003"]
    assert "no label map" in refused["case_00004"]
    assert "differ in their grid" in refused["case_00005"]
    again, refused = project.import_folder(tmp_path / "kits")
    assert again == []
    assert "in the project already" in refused["case_00001"]


def test_values_of_a_data_set_are_named(project, tmp_path, ct_volume, kidney_map):
    folder = tmp_path / "kits" / "case_00001"
    folder.mkdir(parents=True)
    write_volume(ct_volume, folder / "imaging.nii.gz")
    write_label_map(
        LabelMap((kidney_map.array > 0).astype(np.uint8) * 7, kidney_map.affine), folder / "segmentation.nii"
    )
    with pytest.raises(ConfigError, match='Did you mean "kidney tumor"'):
        project.import_folder(tmp_path / "kits", {7: "kidney tumour"})
    added, _ = project.import_folder(tmp_path / "kits", {7: "right kidney"})
    assert list(added[0].volumes_ml) == ["right kidney"]
    with pytest.raises(UsageError, match="project itself"):
        project.import_folder(project.folder)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(project, ct_volume, kidney_map, monkeypatch):
    monkeypatch.setattr("hlfd.project.store._SPARE_BYTES", 1 << 60)
    with pytest.raises(DiskFullError, match="does not fit"):
        project.add(ct_volume, kidney_map)
    assert project.cases == ()
