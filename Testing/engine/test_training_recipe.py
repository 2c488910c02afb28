"""A recipe runs from anatomies to a package that segments, on a miniature of the real thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from hlfd.errors import ConfigError

pytest.importorskip("torch")

from hlfd.config import SegmentSettings
from hlfd.data.phantom_source import PatchSettings, PhantomSource, class_lookup
from hlfd.data.pool import PoolSettings, build_pool, open_pool
from hlfd.inference import Segmenter
from hlfd.models.package import load_package
from hlfd.phantom import AnatomySettings, PhantomSettings, Tissue, simulate
from hlfd.training.recipe import read_recipe
from hlfd.training.run import run_recipe

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"shape": [24, 40, 48], "centre_z": 0.0}
CLASSES = {"kidney": ["left kidney", "right kidney"], "tumor": ["kidney tumor"], "cyst": ["kidney cyst"]}


def small_pool(cases: tuple[int, int], seed: int) -> dict:
    return {"cases": list(cases), "spacing_mm": 6.0, "seed": seed, "shapes": "procedural", "anatomy": SMALL}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    settings = PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural", anatomy={**SMALL, "shape": (24, 40, 48)})
    return build_pool(tmp_path_factory.mktemp("pool"), settings)


def patch_settings(**changes) -> PatchSettings:
    values = {"spacing_mm": 6.0, "size": (16, 24, 24), "windows": ((-200.0, 300.0), (-1000.0, 1000.0)), **changes}
    return PatchSettings(**values)


def test_a_pool_holds_one_anatomy_per_case_and_is_not_built_twice(entries, tmp_path):
    assert len(entries) == 2
    assert entries[0].tissue.shape == (24, 40, 48)
    folder = Path(entries[0].tissue.filename).parent
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert [entry.name for entry in open_pool(folder)] == [entry.name for entry in entries]
    build_pool(folder, PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural"))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")} == stamps


def test_a_patch_is_a_pure_function_of_seed_and_index(entries):
    first = PhantomSource(entries, patch_settings(), CLASSES, seed=3)
    again = PhantomSource(entries, patch_settings(), CLASSES, seed=3)
    other = PhantomSource(entries, patch_settings(), CLASSES, seed=4)
    assert all((first.sample(5)[key] == again.sample(5)[key]).all() for key in ("image", "label"))
    assert (first.sample(5)["image"] != other.sample(5)["image"]).any()


def test_a_patch_has_one_channel_per_window_within_minus_one_and_one(entries):
    sample = PhantomSource(entries, patch_settings(), CLASSES, seed=0).sample(0)
    assert sample["image"].shape == (2, 16, 24, 24)
    assert sample["label"].shape == (16, 24, 24)
    assert -1 <= float(sample["image"].min()) < float(sample["image"].max()) <= 1


def test_patches_around_kidneys_hold_kidney(entries):
    source = PhantomSource(entries, patch_settings(lesion_share=0.0, kidney_share=1.0), CLASSES, seed=0)
    with_kidney = [bool((source.sample(index)["label"] == 1).any()) for index in range(10)]
    assert sum(with_kidney) >= 8


def test_tissues_map_to_the_named_training_classes():
    table = class_lookup(CLASSES)
    assert table[Tissue.KIDNEY_LEFT_CORTEX] == table[Tissue.KIDNEY_RIGHT_MEDULLA] == 1
    assert table[Tissue.TUMOR_NECROSIS] == 2
    assert table[Tissue.CYST] == 3
    assert table[Tissue.LIVER] == table[Tissue.RENAL_PELVIS] == 0


def test_a_class_of_an_unknown_label_is_refused():
    with pytest.raises(ConfigError, match="kidny"):
        class_lookup({"kidney": ["left kidny"]})


def tiny_recipe(folder: Path) -> Path:
    """Write the shipped recipe with small networks, patches and steps, and procedural patients."""
    data = yaml.safe_load((PROJECT / "configs/kidney/kidney.yaml").read_text(encoding="utf-8"))
    data |= {"folder": str(folder / "run"), "workers": 1, "validation_patches": 2}
    data |= {"train": small_pool((0, 1), 1), "validation": small_pool((2, 2), 2), "test": small_pool((3, 3), 3)}
    data["test"]["anatomy"] = {**SMALL, "spacing_mm": 6.0}
    for name, network in data["networks"].items():
        network["patch"] |= {"spacing_mm": 6.0, "size": [16, 32, 32]}
        network.pop("initial", None)
        network["training"] |= {"steps": 2, "batch_size": 1, "validate_every": 0, "workers": 0, "tensorboard": False}
        if name != "teacher":
            network["parameters"] = {"widths": [4, 8]}
    del data["networks"]["teacher"]
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_recipe_ends_in_a_package_that_segments_and_is_scored(tmp_path):
    path = tiny_recipe(tmp_path)
    folder = run_recipe(path)
    package = load_package(folder / "package" / "kidney" / read_recipe(path).version)
    assert package.demonstration
    assert package.metadata["provenance"]["networks"]["refiner"]["steps_planned"] == 2
    volume, _ = simulate(PhantomSettings(anatomy=AnatomySettings(spacing_mm=6.0, shape=(24, 40, 48))), seed=9)
    result = Segmenter(package, SegmentSettings(device="cpu", backend="openvino")).run(volume)
    assert result.label_map.shape == volume.shape
    assert (folder / "assess" / "summary.json").is_file()


def test_a_finished_stage_is_not_trained_again(tmp_path):
    path = tiny_recipe(tmp_path)
    folder = run_recipe(path, ["pool", "refiner"])
    before = np.frombuffer((folder / "refiner" / "best.safetensors").read_bytes(), np.uint8)
    run_recipe(path, ["refiner"])
    after = np.frombuffer((folder / "refiner" / "best.safetensors").read_bytes(), np.uint8)
    assert (before == after).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": {"refinr": {}}}, "refiner"),
        ({"train": {"cases": [5, 2]}}, "first and a last"),
        ({"colour": 1}, "colour"),
        ({"test": None}, "test holds NoneType"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path, change, message):
    path = tiny_recipe(tmp_path)
    data = yaml.safe_load(path.read_text(encoding="utf-8")) | change
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_recipe(path)
