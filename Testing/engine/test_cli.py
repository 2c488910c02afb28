"""The command line: what it prints, writes and returns."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hlfd.cli.main import COMMANDS, build_parser, run
from hlfd.io import read_label_map, write_label_map, write_volume
from hlfd.volume import LabelMap, Volume


@pytest.fixture
def hlfd(models_folder, monkeypatch):
    """Run the command line in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("HLFD_MODELS", str(models_folder))

    def call(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        return run([str(argument) for argument in arguments], out, err), out.getvalue(), err.getvalue()

    return call


@pytest.fixture
def ct(patient, tmp_path) -> Path:
    path = tmp_path / "ct.nii.gz"
    write_volume(patient[0], path)
    return path


def test_every_command_has_help():
    for command in COMMANDS:
        assert command in build_parser().format_help()
        with pytest.raises(SystemExit) as stop:
            build_parser(command).parse_args([command, "--help"])
        assert stop.value.code == 0


def test_segment_writes_the_label_map_on_the_grid_of_the_image(hlfd, ct, patient, tmp_path):
    volume, masks = patient
    code, out, _ = hlfd("segment", ct, tmp_path / "out.seg.nrrd", "--model", "exact")
    assert code == 0
    assert "kidney tumor, left" in out
    assert "not for clinical use" in out
    labels = read_label_map(tmp_path / "out.seg.nrrd")
    assert labels.same_grid(volume)
    for name in ("left kidney", "right kidney"):
        mask = labels.mask(name)
        assert 2 * (mask & masks[name]).sum() / (mask.sum() + masks[name].sum()) > 0.9


def test_json_is_one_object_on_stdout(hlfd, ct, tmp_path):
    code, out, _ = hlfd("segment", ct, tmp_path / "out.nii.gz", "--model", "exact", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["model"] == "exact"
    assert {"read", "locate", "refine", "write", "total"} <= set(result["timing"])
    assert {lesion["side"] for lesion in result["lesions"]} == {"left", "right"}


@pytest.mark.parametrize(
    ("arguments", "code_name"),
    [
        (("segment", "none.nii.gz", "out.nii.gz"), "missing_input"),
        (("segment", "ct.nii.gz"), "bad_usage"),
        (("segment", "ct.nii.gz", "out.nii.gz", "--device", "gpu"), "bad_config"),
        (("segment", "ct.nii.gz", "out.nii.gz", "--model", "nothing"), "model_corrupt"),
        (("segment", "ct.nii.gz", "ct.nii.gz"), "bad_usage"),
        (("evaluate", "ct.nii.gz", "none.nii.gz"), "bad_input"),
        (("models", "import", "none.zip"), "bad_input"),
        (("phantom",), "bad_usage"),
        (("train", "none.yaml"), "bad_config"),
        (("nothing",), "bad_usage"),
    ],
)
def test_user_errors_are_one_sentence_with_code_2_and_an_error_object(hlfd, ct, monkeypatch, arguments, code_name):
    monkeypatch.chdir(ct.parent)
    code, out, err = hlfd(*arguments, "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == code_name
    assert err.startswith("hlfd: ")
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_internal_errors_point_to_a_log_file(hlfd, ct, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hlfd.cli.single.read_volume", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, out, err = hlfd("segment", ct, tmp_path / "out.nii.gz", "--model", "exact", "--json")
    assert code == 3
    error = json.loads(out)["error"]
    assert error["code"] == "internal"
    assert "Traceback" not in err
    log = Path(error["remedy"].split('"')[1])
    assert "ZeroDivisionError: division by zero" in log.read_text()


def test_a_folder_of_many_goes_on_after_a_bad_case(hlfd, ct, tmp_path):
    source = tmp_path / "many"
    (source / "case_00001").mkdir(parents=True)
    shutil.copy(ct, source / "a.nii.gz")
    (source / "b.nii.gz").write_bytes(ct.read_bytes()[:3000])
    shutil.copy(ct, source / "case_00001" / "imaging.nii.gz")
    shutil.copy(ct, source / "case_00001" / "segmentation.nii.gz")
    code, out, err = hlfd("segment", source, tmp_path / "out", "--model", "exact")
    assert code == 1
    assert "2 of 3 cases done" in out
    assert "Failed: b" in out
    assert "b: failed:" in err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.nii.gz", "case_00001.nii.gz", "results.csv", "results.json"}
    table = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert table[0].startswith("case,status,message,left kidney ml,kidney tumor ml")
    assert [line.split(",")[1] for line in table[1:]] == ["ok", "failed", "ok"]
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["cases"]
    assert rows[1]["error"]["message"]


def test_a_folder_of_many_without_a_model_stops_at_once(hlfd, ct, tmp_path):
    shutil.copy(ct, ct.parent / "second.nii.gz")
    code, _, err = hlfd("segment", ct.parent, tmp_path / "out", "--model", "nothing")
    assert code == 2
    assert 'no model "nothing"' in err


def test_evaluate_prints_dice_per_group(hlfd, kidney_map, tmp_path):
    write_label_map(kidney_map, tmp_path / "a.seg.nrrd")
    code, out, _ = hlfd("evaluate", tmp_path / "a.seg.nrrd", tmp_path / "a.seg.nrrd", "--json")
    groups = json.loads(out)["groups"]
    assert code == 0
    assert {values["dice"] for values in groups.values()} == {1.0}
    code, out, _ = hlfd("evaluate", tmp_path / "a.seg.nrrd", tmp_path / "a.seg.nrrd", "--group", "left=1")
    assert "left" in out
    assert "1.000" in out


def test_evaluate_compares_folders_by_name_and_names_what_failed(hlfd, kidney_map, tmp_path):
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            write_label_map(kidney_map, tmp_path / folder / f"{name}.nii.gz")
    (tmp_path / "pred" / "b.nii.gz").write_bytes(b"broken")
    code, out, err = hlfd("evaluate", tmp_path / "pred", tmp_path / "ref", "--json")
    result = json.loads(out)
    assert code == 1
    assert result["failed"] == ["b"]
    assert result["mean_dice"]["kidney_and_masses"] == 1.0
    assert "b: failed" in err


def test_check_names_cases_that_cannot_be_used(hlfd, ct_volume, kidney_map, tmp_path):
    case = tmp_path / "case_00000"
    case.mkdir()
    write_volume(ct_volume, case / "imaging.nii.gz")
    write_label_map(kidney_map, case / "segmentation.nii.gz")
    assert hlfd("check", tmp_path)[0] == 0
    write_label_map(
        LabelMap(np.zeros(ct_volume.shape, np.uint8), ct_volume.affine, kidney_map.labels),
        case / "segmentation.nii.gz",
    )
    code, out, _ = hlfd("check", tmp_path, "--json")
    assert code == 1
    assert json.loads(out)["unusable"] == ["case_00000"]


def test_models_are_listed_shown_and_verified(hlfd):
    listed = json.loads(hlfd("models", "list", "--json")[1])["models"]
    assert ("exact", "1.0.0") in {(entry["name"], entry["version"]) for entry in listed}
    shown = json.loads(hlfd("models", "show", "exact", "--json")[1])
    assert shown["model"]["labels"][0]["name"] == "left kidney"
    assert "files are intact" in hlfd("models", "verify", "exact")[1]


def test_demo_writes_ct_segmentation_pictures_and_report(hlfd, ct, tmp_path):
    code, out, _ = hlfd("demo", "--input", ct, "--out", tmp_path / "demo", "--model", "exact")
    assert code == 0
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"ct.nii.gz", "segmentation.seg.nrrd", "report.html", "measurements.csv", "axial.png"} <= names
    assert not any(name.startswith(".") for name in names)
    assert "report.html" in out


def test_a_volume_that_is_no_ct_is_refused(hlfd, tmp_path, make_affine):
    values = np.random.default_rng(1).uniform(0, 1, (12, 12, 12)).astype(np.float32)
    write_volume(Volume(values, make_affine()), tmp_path / "mr.nii.gz")
    code, out, _ = hlfd("segment", tmp_path / "mr.nii.gz", tmp_path / "out.nii.gz", "--model", "exact", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "not_ct"
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_quick_trial_of_a_recipe_records_the_steps_that_were_run(tmp_path):
    from hlfd.cli.train import with_steps
    from hlfd.training.recipe import read_recipe

    recipe = Path(__file__).parents[2] / "configs" / "kidney" / "kidney.yaml"
    copy = read_recipe(with_steps(recipe, tmp_path, 7))
    assert {network.training.steps for network in copy.networks.values()} == {7}
    assert copy.train == read_recipe(recipe).train


def test_training_afresh_forgets_networks_but_keeps_the_anatomies(tmp_path):
    from hlfd.cli.train import _forget

    for name in ("pool", "locator", "refiner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    _forget([tmp_path / "refiner"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locator", "pool"]
