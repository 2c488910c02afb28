"""What ships with the project: settings, model packages, the sample CT, continuous integration."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from hlfd.models.package import load_package

PROJECT = Path(__file__).resolve().parents[2]
MODELS = PROJECT / "HLFDSegment" / "Resources" / "Models"
SAMPLES = PROJECT / "HLFDSegment" / "Resources" / "HLFDSegment" / "Samples"
STUDENTS_MB, TEACHER_MB, SAMPLE_MB = 12, 25, 6

shipped = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False).stdout
yaml_files = [PROJECT / name for name in shipped.splitlines() if name.endswith((".yaml", ".yml"))]
recipes = [path for path in yaml_files if path.parent.parent.name == "configs" or path.parent.name == "Recipes"]
packages = sorted(path.parent for path in MODELS.glob("*/*/model.json"))


@pytest.mark.parametrize("path", yaml_files, ids=lambda path: path.name)
def test_every_yaml_file_loads(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", recipes, ids=lambda path: path.stem)
def test_every_recipe_and_comparison_is_a_valid_one(path):
    pytest.importorskip("torch")
    from hlfd.compare.settings import read_compare
    from hlfd.training.dataset_recipe import is_dataset_recipe, read_dataset_recipe
    from hlfd.training.recipe import read_recipe
    from hlfd.training.slice_recipe import is_slice_recipe, read_slice_recipe

    if path.parent.name == "compare":
        assert "none" in read_compare(path).methods
    elif is_slice_recipe(path):
        assert read_slice_recipe(path).students
    else:
        recipe = (read_dataset_recipe if is_dataset_recipe(path) else read_recipe)(path)
        assert "refiner" in recipe.networks
        assert "not for clinical use" in recipe.notice.lower()


@pytest.mark.parametrize("folder", packages, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
class TestModelPackage:
    def test_loads_with_all_checksums_and_no_other_file(self, folder):
        package = load_package(folder)
        assert (package.name, package.version) == (folder.parent.name, folder.name)
        assert {path.name for path in folder.iterdir()} == {"model.json", *package.metadata["sha256"]}

    def test_says_what_it_is_not_for(self, folder):
        package = load_package(folder, verify=False)
        card = (folder / "README.md").read_text(encoding="utf-8").lower()
        if package.demonstration:
            assert "not for clinical use" in package.notice.lower()
            assert "not for clinical use" in card
        assert package.licence

    def test_tells_its_training_and_accuracy(self, folder):
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        assert data["provenance"]
        assert data["metrics"]

    def test_is_small_enough_to_ship(self, folder):
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        teacher = sum(size for name, size in sizes.items() if name.startswith("teacher."))
        assert teacher <= TEACHER_MB * 1e6
        assert sum(sizes.values()) - teacher <= STUDENTS_MB * 1e6


def test_the_sample_ct_is_small_and_fits_its_truth():
    image, labels = SAMPLES / "sample_ct.nii.gz", SAMPLES / "sample_labels.nii.gz"
    if not image.exists():
        pytest.skip("the sample CT was not made yet")
    from hlfd.io import read_label_map, read_volume
    from hlfd.labels import KIDNEY_LABELS

    volume, truth = read_volume(image), read_label_map(labels, KIDNEY_LABELS)
    assert volume.array.dtype == "int16"
    assert volume.same_grid(truth)
    assert truth.mask("kidney tumor").any()
    assert image.stat().st_size + labels.stat().st_size <= SAMPLE_MB * 1e6


@pytest.mark.parametrize("name", ["run", "environment", "rendering", "browser"])
def test_scripts_of_continuous_integration_are_valid_and_executable(name):
    script = PROJECT / ".ci" / name
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_the_constraints_pin_what_the_project_depends_on():
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    assert {"numpy", "simpleitk", "openvino", "torch", "monai", "trame-slicer", "aiohttp", "ruff", "mypy"} <= pinned
    assert "torch==2.13.0" in lines
