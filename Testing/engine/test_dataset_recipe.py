"""Recipes on labelled data sets run from the folder to a cross-validated package, on miniature cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")

from hlfd.cli.main import run as hlfd
from hlfd.errors import ConfigError, InputError
from hlfd.events import Stage, Warn
from hlfd.io import read_label_map, write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS
from hlfd.models.package import load_package
from hlfd.models.resources import find_recipe
from hlfd.training.dataset_cases import list_cases, split_cases
from hlfd.training.dataset_recipe import DataSet, read_dataset_recipe
from hlfd.training.dataset_run import run_dataset_recipe
from hlfd.volume import LabelMap

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = {"kits": "kits23", "lits": "lits", "msd": "msd-liver"}
KITS = {1: 1, 4: 1, 2: 2, 3: 3}
LITS = {4: 1, 3: 2}


@pytest.fixture(scope="session")
def patients(make):
    """Four coarse scans of a drawn patient; a kidney stands for the liver where a liver is wanted."""
    names = {"left kidney": 1, "right kidney": 4, "kidney tumor": 2, "kidney cyst": 3}
    scans = []
    for number in range(4):
        volume, masks = make.patient(spacing=(6.0, 6.0, 6.0), extent=(240.0, 180.0, 144.0 + 6 * number))
        array = np.zeros(volume.shape, np.uint8)
        for name, value in names.items():
            array[masks[name]] = value
        scans.append((volume, LabelMap(array, volume.affine)))
    return scans


def renamed(labels: LabelMap, values: dict[int, int]) -> LabelMap:
    table = np.zeros(256, np.uint8)
    for old, new in values.items():
        table[old] = new
    return LabelMap(table[labels.array], labels.affine)


def write_kits(folder: Path, patients) -> Path:
    for number, (volume, labels) in enumerate(patients):
        case = folder / f"case_{number:05d}"
        case.mkdir(parents=True)
        write_volume(volume, case / "imaging.nii.gz")
        write_label_map(renamed(labels, KITS), case / "segmentation.nii.gz")
    return folder


def write_lits(folder: Path, patients) -> Path:
    for number, (volume, labels) in enumerate(patients):
        batch = folder / f"Training Batch {number % 2 + 1}"
        batch.mkdir(parents=True, exist_ok=True)
        write_volume(volume, batch / f"volume-{number}.nii")
        write_label_map(renamed(labels, LITS), batch / f"segmentation-{number}.nii")
    return folder


def write_msd(folder: Path, patients) -> Path:
    rows = []
    for number, (volume, labels) in enumerate(patients):
        row = {"image": f"./imagesTr/liver_{number}.nii.gz", "label": f"./labelsTr/liver_{number}.nii.gz"}
        for kind in ("imagesTr", "labelsTr"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        write_volume(volume, folder / row["image"])
        write_label_map(renamed(labels, LITS), folder / row["label"])
        rows.append(row)
    (folder / "dataset.json").write_text(json.dumps({"training": rows}), encoding="utf-8")
    return folder


WRITERS = {"kits": write_kits, "lits": write_lits, "msd": write_msd}


def tiny(folder: Path, layout: str = "kits", **changes) -> Path:
    """Write the shipped recipe of a layout with small networks, patches and steps, and two folds."""
    data = yaml.safe_load(find_recipe(SHIPPED[layout]).read_text(encoding="utf-8"))
    data |= {"folder": str(folder / "run"), "workers": 1, "validation_patches": 2}
    data["data_set"]["folds"] = 2
    for role, network in data["networks"].items():
        network["patch"] |= {"spacing_mm": 6.0, "size": [16, 16, 16]}
        network["training"] |= {"steps": 2, "batch_size": 1, "validate_every": 0, "workers": 0, "tensorboard": False}
        network["parameters"] = {"widths": [4, 8, 8] if role == "teacher" else [4, 8]}
    data |= changes
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(patients, tmp_path_factory) -> Callable[[str], tuple[Path, Path]]:
    """Train fold 0 of the shipped recipe of a layout, once each: gives the data set and the recipe's file."""

    @cache
    def train(layout: str) -> tuple[Path, Path]:
        folder = tmp_path_factory.mktemp(layout)
        data, config = WRITERS[layout](folder / "data", patients), tiny(folder, layout)
        assert hlfd(["train", str(config), "--data", str(data), "--fold", "0", "--json"]) == 0
        return data, config

    return train


@pytest.mark.parametrize("layout", ["kits", "lits", "msd"])
def test_a_shipped_recipe_goes_from_the_data_set_to_a_package_that_segments(layout, trained, tmp_path):
    data, config = trained(layout)
    recipe = read_dataset_recipe(config)
    package = load_package(recipe.folder / "package" / recipe.name / recipe.version)
    assert package.licence == yaml.safe_load(find_recipe(SHIPPED[layout]).read_text())["licence"]
    assert package.teacher is not None
    assert package.labels == (KIDNEY_LABELS if layout == "kits" else LIVER_LABELS)
    scores = json.loads((recipe.folder / "evaluate" / "summary.json").read_text(encoding="utf-8"))
    organ, lesion = ("kidney_and_masses", "tumor") if layout == "kits" else ("liver_and_tumor", "liver_tumor")
    assert scores["all"]["cases"] == len(json.loads((recipe.folder / "splits.json").read_text())[0]["test"])
    assert {"dice", "nsd_1mm", "hd95_mm"} <= set(scores["all"][organ])
    assert scores["all"][lesion]["lesions"]["reference"] > 0
    assert package.metadata["metrics"]["cross_validation"]["folds_evaluated"] == 1
    assert "hlfd" in package.metadata["provenance"]["networks"]["refiner"]["distillation"]
    out = tmp_path / "out.nii.gz"
    scan = next(path for path in data.rglob("*.nii*") if "segmentation" not in path.name and "labels" not in str(path))
    assert hlfd(["segment", str(scan), str(out), "--model", str(package.folder)]) == 0
    known = {0, *(label.value for label in package.labels)}
    assert set(np.unique(read_label_map(out).array).tolist()) <= known


def test_a_finished_recipe_is_not_run_again(trained):
    data, config = trained("kits")
    folder = read_dataset_recipe(config).folder
    files = [p for p in folder.rglob("*") if p.suffix in (".npy", ".json") and "run" not in p.name]
    files = [p for p in files if p.parts[-2] in ("cache", "evaluate") or "prepared" in p.parts or "cache" in p.parts]
    before = {path: path.stat().st_mtime_ns for path in files if path.name != "summary.json"}
    weights = {path: path.read_bytes() for path in folder.glob("fold0/*/best.safetensors")}
    run_dataset_recipe(config, data, [0])
    assert len(before) > 10
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path: path.read_bytes() for path in weights} == weights


def test_a_student_without_teacher_needs_no_cache(patients, tmp_path):
    data, config = write_kits(tmp_path / "data", patients), tiny(tmp_path)
    text = yaml.safe_load(config.read_text(encoding="utf-8"))
    text["networks"]["refiner"]["distillation"] = {"methods": ["none"]}
    config.write_text(yaml.safe_dump(text), encoding="utf-8")
    events: list = []
    folder = run_dataset_recipe(config, data, [1], ["prepare", "distil"], events.append)
    assert (folder / "fold1" / "refiner" / "best.safetensors").is_file()
    assert not (folder / "fold1" / "cache").exists()
    assert Stage("fold 1: distil") in events


def test_without_a_cache_the_teacher_runs_beside_a_fully_augmented_student(patients, tmp_path):
    data, config = write_kits(tmp_path / "data", patients), tiny(tmp_path, cache=None)
    text = yaml.safe_load(config.read_text(encoding="utf-8"))
    del text["networks"]["locator"]
    text["networks"]["refiner"]["patch"] |= {"rotation_deg": 10.0, "gain": 0.05}
    config.write_text(yaml.safe_dump(text), encoding="utf-8")
    folder = run_dataset_recipe(config, data, [0], ["prepare", "teacher", "distil"])
    lines = (folder / "fold0" / "refiner" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(name.startswith("train/hlfd") for name in json.loads(lines[0]))


class TestFolds:
    DATA = DataSet("csv", {"kidney": (1,)}, folds=5, patient=r"^(p\d+)")
    NAMES = tuple(f"p{patient}_{scan}" for patient in range(23) for scan in range(patient % 3 + 1))

    def test_every_case_is_tested_once_and_no_patient_is_on_two_sides(self):
        splits = split_cases(self.NAMES, self.DATA, seed=1)
        assert sorted(name for split in splits for name in split.test) == sorted(self.NAMES)
        for split in splits:
            sides = [{name.split("_")[0] for name in part} for part in (split.train, split.validation, split.test)]
            assert all(sides)
            assert len(set.union(*sides)) == sum(map(len, sides))

    def test_the_split_depends_on_the_seed_alone(self):
        again = split_cases(tuple(reversed(self.NAMES)), self.DATA, seed=1)
        assert again == split_cases(self.NAMES, self.DATA, seed=1)
        assert again != split_cases(self.NAMES, self.DATA, seed=2)


class TestFaults:
    @pytest.fixture
    def kits(self, patients, tmp_path) -> Path:
        return write_kits(tmp_path / "data", patients)

    def refusal(self, arguments: list[str], capsys) -> str:
        assert hlfd([*arguments, "--json"]) == 2
        return json.loads(capsys.readouterr().out)["error"]["message"]

    def test_another_layout_is_refused_with_the_one_it_looks_like(self, kits):
        with pytest.raises(InputError, match=r"layout lits.*looks like the layout kits"):
            list_cases(DataSet("lits", {"liver": (1,)}), kits)

    def test_a_case_without_label_map_stops_the_run_before_it_begins(self, kits, tmp_path, capsys):
        (kits / "case_00001" / "segmentation.nii.gz").unlink()
        message = self.refusal(["train", str(tiny(tmp_path)), "--data", str(kits)], capsys)
        assert "case_00001 have no label map" in message
        assert not (tmp_path / "run").exists()

    def test_label_maps_without_image_are_named(self, patients, tmp_path):
        data = write_lits(tmp_path / "data", patients)
        next(data.rglob("volume-1.nii")).unlink()
        with pytest.raises(InputError, match=r"segmentation-1.nii are label maps without an image"):
            list_cases(DataSet("lits", {"liver": (1,)}, folds=2), data)

    def test_bad_cases_are_all_named_and_the_good_ones_stay_prepared(self, kits, tmp_path, capsys):
        empty, odd = (kits / f"case_0000{n}" / "segmentation.nii.gz" for n in (0, 1))
        labels = read_label_map(empty)
        write_label_map(LabelMap(np.zeros_like(labels.array), labels.affine), empty)
        write_label_map(renamed(read_label_map(odd), {1: 1, 2: 9}), odd)
        message = self.refusal(["train", str(tiny(tmp_path)), "--data", str(kits), "--stages", "prepare"], capsys)
        assert "2 of 4 cases cannot be used: case_00000, case_00001" in message
        assert "background only" in message
        assert (tmp_path / "run" / "prepared" / "6mm" / "case_00002" / "case.json").is_file()

    def test_other_cases_than_those_of_earlier_results_are_refused(self, kits, patients, tmp_path):
        config = tiny(tmp_path)
        run_dataset_recipe(config, kits, stages=["prepare"])
        write_kits(tmp_path / "more", patients[:1])
        (tmp_path / "more" / "case_00000").rename(kits / "case_00009")
        with pytest.raises(ConfigError, match="differ from those that earlier results"):
            run_dataset_recipe(config, kits, stages=["prepare"])

    @pytest.mark.parametrize(
        ("where", "change", "message"),
        [
            (
                ("networks", "teacher"),
                {"classes": {"kidney": ["kidney"]}, "exported": {}, "class_weights": {}},
                "classes",
            ),
            (("networks", "teacher", "patch"), {"spacing_mm": 3.0}, "spacing_mm"),
            (("networks", "teacher", "patch"), {"windows": [[-100, 200]]}, "windows"),
            (("networks", "refiner", "patch"), {"gain": 0.1}, "gain, which cached"),
            (("networks", "refiner", "distillation"), {"methods": [{"name": "hlfdd"}]}, "hlfdd"),
            (("networks", "refiner"), {"classes": {"kidney": ["kidny"]}, "exported": {}, "class_weights": {}}, "kidny"),
            (("networks",), {"undistilled": {}}, "undistilled"),  # it has no stage that would train it
            (("data_set",), {"layout": "kist"}, "kist"),
            (("data_set",), {"folds": 1}, "folds"),
            (("cache",), {"dtype": "int4"}, "int4"),
            ((), {"package_fold": 7}, "package_fold"),
        ],
    )
    def test_a_wrong_recipe_is_refused_by_name(self, tmp_path, where, change, message, capsys):
        config = tiny(tmp_path)
        data = yaml.safe_load(config.read_text(encoding="utf-8"))
        entry = data
        for key in where:
            entry = entry[key]
        entry.update(change)
        config.write_text(yaml.safe_dump(data), encoding="utf-8")
        assert message in self.refusal(["train", str(config), "--data", str(tmp_path)], capsys)

    def test_a_recipe_needs_its_data_set_and_an_existing_fold(self, tmp_path, capsys):
        config = str(tiny(tmp_path))
        assert "does not name the data set" in self.refusal(["train", config], capsys)
        assert "There is no fold 5" in self.refusal(["train", config, "--data", ".", "--fold", "5"], capsys)

    def test_a_package_of_an_untrained_fold_is_left_out_with_a_warning(self, kits, tmp_path):
        config = tiny(tmp_path)
        events: list = []
        text = yaml.safe_load(config.read_text(encoding="utf-8"))
        text["networks"] = {"refiner": {**text["networks"]["refiner"], "distillation": None}}
        config.write_text(yaml.safe_dump(text), encoding="utf-8")
        run_dataset_recipe(config, kits, [1], None, events.append)
        assert any(isinstance(event, Warn) and "Nothing was packaged" in event.message for event in events)
