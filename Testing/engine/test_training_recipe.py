"""A recipe runs from anatomies to a package that segments, on a miniature of the real thing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from hlfd.errors import ConfigError

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

from hlfd.checkpoint import save_weights
from hlfd.config import SegmentSettings
from hlfd.data.phantom_source import PatchSettings, PhantomSource, class_lookup
from hlfd.data.pool import PoolSettings, _points, build_pool, open_pool
from hlfd.inference import Segmenter
from hlfd.models.build import load_network
from hlfd.models.package import load_package
from hlfd.networks import MergeClasses, build_network, fold_batchnorm
from hlfd.phantom import AnatomySettings, PhantomSettings, Tissue, simulate
from hlfd.phantom.tissues import LIVER_TUMOR_TISSUES
from hlfd.training.recipe import read_recipe
from hlfd.training.run import pool, run_recipe, trained_network

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"shape": [24, 40, 48], "centre_z": 0.0}
LIVER_STUDY = {
    "shape": [40, 40, 48],
    "centre_z": 40.0,
    "liver_study": True,
    "liver_lesions": 2,
    "liver_tumor_mm": [30, 50],
    "liver_benign": 0,
}
CLASSES = {"kidney": ["left kidney", "right kidney"], "tumor": ["kidney tumor"], "cyst": ["kidney cyst"]}


def small_pool(cases: tuple[int, int], seed: int, anatomy: dict) -> dict:
    return {"cases": list(cases), "spacing_mm": 6.0, "seed": seed, "shapes": "procedural", "anatomy": anatomy}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    settings = PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural", anatomy={**SMALL, "shape": (24, 40, 48)})
    return build_pool(tmp_path_factory.mktemp("pool"), settings)


@pytest.fixture(scope="module")
def liver_entries(tmp_path_factory):
    anatomy = {**LIVER_STUDY, "shape": (40, 40, 48)}
    settings = PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural", anatomy=anatomy)
    return build_pool(tmp_path_factory.mktemp("liver"), settings)


def patch_settings(**changes) -> PatchSettings:
    values = {"spacing_mm": 6.0, "size": (16, 24, 24), "windows": ((-200.0, 300.0), (-1000.0, 1000.0)), **changes}
    return PatchSettings(**values)


def test_a_pool_holds_one_anatomy_per_case_and_is_not_built_twice(entries, tmp_path):
    assert len(entries) == 2
    assert entries[0].tissue.shape == (24, 40, 48)
    folder = Path(entries[0].tissue.filename).parent
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert [entry.name for entry in open_pool(folder)] == [entry.name for entry in entries]
    made_so = PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural", anatomy={**SMALL, "shape": (24, 40, 48)})
    build_pool(folder, made_so)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.npy")} == stamps


@pytest.mark.parametrize("change", [{"seed": 7}, {"spacing_mm": 3.0}, {"anatomy": {**SMALL, "tumors": 1}}])
def test_a_pool_of_other_settings_is_neither_used_nor_changed(entries, change):
    folder = Path(entries[0].tissue.filename).parent
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    made_so = PoolSettings((0, 1), spacing_mm=6.0, shapes="procedural", anatomy={**SMALL, "shape": (24, 40, 48)})
    with pytest.raises(ConfigError, match="anatomies made with") as caught:
        build_pool(folder, replace(made_so, cases=(0, 4), **change))
    assert "another folder" in caught.value.remedy
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps


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


def test_patches_around_the_liver_hold_liver_and_those_around_its_lesions_hold_lesions(liver_entries):
    shares = {"lesion_share": 0.0, "kidney_share": 0.0, "jitter": 0.2}
    classes = {"liver": ["liver"], "tumor": ["liver tumor"]}
    near_liver = PhantomSource(liver_entries, patch_settings(**shares, liver_share=1.0), classes, seed=0)
    assert sum(bool((near_liver.sample(index)["label"] > 0).any()) for index in range(10)) >= 9
    near_lesions = PhantomSource(liver_entries, patch_settings(**shares, liver_lesion_share=1.0), classes, seed=0)
    assert sum(bool((near_lesions.sample(index)["label"] == 2).any()) for index in range(10)) >= 7


def test_points_of_the_liver_leave_patches_of_kidney_recipes_as_they_were(liver_entries):
    none = np.zeros((0, 3))
    without = [replace(entry, liver_points=none, liver_lesion_points=none) for entry in liver_entries]
    before, now = (PhantomSource(e, patch_settings(), CLASSES, seed=3) for e in (without, liver_entries))
    for index in range(6):
        assert all((before.sample(index)[key] == now.sample(index)[key]).all() for key in ("image", "label"))


def test_points_of_kidneys_do_not_depend_on_the_liver(liver_entries):
    tissue = np.asarray(liver_entries[0].tissue)
    without = np.where(np.isin(tissue, [Tissue.LIVER, *LIVER_TUMOR_TISSUES]), Tissue.FAT_VISCERAL, tissue)
    with_liver, without_liver = (_points(t.astype(np.uint8), np.random.default_rng(1)) for t in (tissue, without))
    for name in ("kidney_points", "lesion_points"):
        assert (with_liver[name] == without_liver[name]).all()
    assert len(with_liver["liver_lesion_points"]) > len(without_liver["liver_lesion_points"]) == 0


def test_a_pool_of_an_earlier_version_serves_kidneys_and_is_refused_for_the_liver(entries, tmp_path):
    folder = Path(entries[0].tissue.filename).parent
    for path in folder.glob("anatomy_00000_*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    points = tmp_path / "anatomy_00000_00.npz"
    with np.load(points) as file:
        old = {name: file[name] for name in file if not name.startswith("liver")}
    np.savez(points, **old)
    again = open_pool(tmp_path)
    assert (PhantomSource(again, patch_settings(), CLASSES, seed=3).sample(0)["image"]).isfinite().all()
    with pytest.raises(ConfigError, match="Remove the pool"):
        PhantomSource(again, patch_settings(kidney_share=0.0, liver_share=0.5), CLASSES, seed=0)


@pytest.mark.parametrize("shares", [{"liver_share": 0.5}, {"lesion_share": -0.1}])
def test_shares_of_more_than_all_patches_are_refused(shares):
    with pytest.raises(ConfigError, match="at most 1"):
        patch_settings(**shares)


def test_tissues_map_to_the_named_training_classes():
    table = class_lookup(CLASSES)
    assert table[Tissue.KIDNEY_LEFT_CORTEX] == table[Tissue.KIDNEY_RIGHT_MEDULLA] == 1
    assert table[Tissue.TUMOR_NECROSIS] == 2
    assert table[Tissue.CYST] == 3
    assert table[Tissue.LIVER] == table[Tissue.RENAL_PELVIS] == 0


def test_a_class_of_single_tissues_takes_them_from_that_of_their_label():
    table = class_lookup({"benign": ["liver_cyst", "liver_hemangioma"], "liver": ["liver"]})
    assert table[Tissue.LIVER_CYST] == table[Tissue.LIVER_HEMANGIOMA] == 1
    assert table[Tissue.LIVER] == table[Tissue.LIVER_VESSEL] == table[Tissue.LIVER_HEMANGIOMA_NODULE] == 2
    assert table[Tissue.LIVER_METASTASIS] == table[Tissue.SPLEEN] == 0


def test_a_class_of_an_unknown_label_is_refused():
    with pytest.raises(ConfigError, match="kidny"):
        class_lookup({"kidney": ["left kidny"]})


def tiny_recipe(folder: Path, name: str = "kidney", steps: int = 2) -> Path:
    """Write the shipped recipe with small networks, patches and steps, and procedural patients."""
    data = yaml.safe_load((PROJECT / f"configs/{name}/{name}.yaml").read_text(encoding="utf-8"))
    anatomy = LIVER_STUDY if name == "liver" else SMALL
    data |= {"folder": str(folder / "run"), "workers": 1, "validation_patches": 2}
    cases = {"train": (0, 1), "validation": (2, 2), "test": (3, 3)}
    data |= {part: small_pool(numbers, seed, anatomy) for seed, (part, numbers) in enumerate(cases.items(), 1)}
    data["test"]["anatomy"] = {**anatomy, "spacing_mm": 6.0}
    schedule = {"steps": steps, "batch_size": 1, "validate_every": 0, "workers": 0, "tensorboard": False}
    data["networks"].pop("teacher", None)
    data.pop("train_also", None)
    for network in data["networks"].values():
        network["patch"] |= {"spacing_mm": 6.0, "size": [16, 32, 32]}
        network["training"] |= schedule
        network["parameters"] = {"widths": [4, 8]}
        network.pop("initial", None)
        network.pop("initial_classes", None)
        network.pop("initial_parameters", None)
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


def begin_with_kidneys(path: Path) -> None:
    """Let the refiner of a tiny liver recipe begin with random weights that have the classes of the kidney's."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    classes = list(
        yaml.safe_load((PROJECT / "configs/kidney/kidney.yaml").read_text())["networks"]["locator"]["classes"]
    )
    network = build_network("s2d_unet", in_channels=2, classes=len(classes) + 1, widths=[4, 8])
    weights = path.parent / "kidney.safetensors"
    groups = [[channel] for channel in range(len(classes) + 1)]
    save_weights(fold_batchnorm(MergeClasses(network, groups)), weights)
    data["networks"]["refiner"] |= {"initial": str(weights), "initial_classes": classes}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")


def test_the_recipe_of_the_liver_ends_in_a_package_that_finds_the_liver_and_is_scored(tmp_path):
    path = tiny_recipe(tmp_path, "liver", steps=20)
    begin_with_kidneys(path)
    folder = run_recipe(path)
    package = load_package(folder / "package" / "liver" / read_recipe(path).version)
    assert [label.name for label in package.labels] == ["liver", "liver tumor"]
    assert package.refiner.classes == ("background", "liver", "tumor")
    origin = package.metadata["provenance"]["networks"]["refiner"]
    assert origin["went_on_from"] == "kidney.safetensors"
    assert origin["began_anew"] == ["liver tumor"]
    summary = json.loads((folder / "assess" / "summary.json").read_text(encoding="utf-8"))
    assert {"liver_and_tumor", "liver_tumor"} <= set(summary["contrast"])
    assert summary["contrast"]["liver_tumor"]["lesions"]["reference"] >= 1


def test_the_shipped_recipe_of_the_liver_reads_and_its_classes_go_on_from_those_of_the_kidney():
    kidney, liver = (read_recipe(PROJECT / f"configs/{name}/{name}.yaml") for name in ("kidney", "liver"))
    had = liver.networks["refiner"].initial_classes
    assert had is not None
    both = kidney.networks["refiner"].initial_classes
    assert both is not None
    assert len(had) == len(both)  # both go on from kidney 0.4.0
    assert set(liver.networks["refiner"].classes) - set(had) == {"liver tumor"}
    assert list(liver.networks["locator"].classes) == list(kidney.networks["locator"].classes)
    assert liver.networks["refiner"].parameters == kidney.networks["refiner"].parameters


def test_classes_of_initial_weights_without_weights_are_refused(tmp_path):
    path = tiny_recipe(tmp_path, "liver")
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["networks"]["refiner"]["initial_classes"] = ["kidney"]
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="without initial"):
        read_recipe(path)


def changed_recipe(path: Path, **networks: dict) -> Path:
    """Change entries of networks of a recipe's file; those that are new begin as the refiner's."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, change in networks.items():
        data["networks"][name] = {**data["networks"].get(name, data["networks"]["refiner"]), **change}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_wide_teacher_begins_as_the_student_and_a_shift_of_logits_reaches_the_package_alone(tmp_path):
    path = tiny_recipe(tmp_path)
    folder = run_recipe(path, ["pool", "locator", "refiner", "package"])
    package = folder / "package" / "kidney" / read_recipe(path).version
    before = load_network(load_package(package).refiner)
    (tmp_path / "first.safetensors").write_bytes((package / "refiner.safetensors").read_bytes())
    wide = {"parameters": {"widths": [6, 16]}, "initial_parameters": {"widths": [4, 8]}}
    changed_recipe(path, teacher={**wide, "initial": str(tmp_path / "first.safetensors")})
    changed_recipe(path, refiner={"logit_shift": {"tumor": 1.5}})
    run_recipe(path, ["teacher", "package"])
    made = load_package(package)
    assert made.teacher is not None
    assert made.teacher.parameters["widths"] == [6, 16]
    origin = made.metadata["provenance"]["networks"]
    assert origin["teacher"]["widened_from"] == {"widths": [4, 8]}
    assert origin["refiner"]["logit_shift"] == {"tumor": 1.5}
    image = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        difference = (load_network(made.refiner)(image) - before(image)).amax(dim=(0, 2, 3, 4))
    expected = torch.tensor([1.5 * (name == "tumor") for name in made.refiner.classes])
    torch.testing.assert_close(difference, expected, atol=0.02, rtol=0)
    assert torch.equal(
        load_file(folder / "refiner" / "best.safetensors")["head.bias"],
        trained_network(read_recipe(path), "refiner").network.head.bias,
    )


def test_a_distilled_student_goes_on_from_the_undistilled_one_and_the_package_shows_both(tmp_path):
    path = tiny_recipe(tmp_path)
    methods = [{"name": "hlfd", "feature_weight": 0.1, "logits": "kd", "logits_weight": 1}]
    changed_recipe(path, undistilled={}, teacher={"parameters": {"widths": [6, 16]}, "initial": "undistilled"})
    changed_recipe(path, refiner={"initial": "undistilled", "distillation": {"methods": methods}})
    folder = run_recipe(path, ["pool", "locator", "undistilled", "teacher", "refiner", "package"])
    made = load_package(folder / "package" / "kidney" / read_recipe(path).version)
    part, whole, start = (
        trained_network(read_recipe(changed_recipe(path, refiner={"keep_share": share})), role).network.head.bias
        for share, role in ((0.25, "refiner"), (1.0, "refiner"), (1.0, "undistilled"))
    )
    torch.testing.assert_close(part, start + 0.25 * (whole - start))
    assert made.teacher is not None
    assert made.undistilled is not None
    assert made.undistilled.parameters == made.refiner.parameters
    assert made.undistilled.openvino is None
    steps = made.metadata["provenance"]["networks"]["refiner"]
    assert steps["went_on_from"] == "undistilled"
    assert "hlfd" in str(steps["distillation"])
    assert "undistilled" in (made.folder / "README.md").read_text(encoding="utf-8")
    changed_recipe(path, refiner={"training": {"steps": 0}})
    (folder / "refiner" / "result.json").unlink()
    run_recipe(path, ["refiner"])
    before, after = (load_file(folder / role / "best.safetensors") for role in ("undistilled", "refiner"))
    assert not all(torch.equal(before[name], after[name]) for name in before)  # a finished run is not repeated
    shutil.rmtree(folder / "refiner")
    run_recipe(path, ["refiner"])
    after = load_file(folder / "refiner" / "best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_further_patients_of_the_training_are_drawn_beside_the_first(tmp_path):
    path = tiny_recipe(tmp_path)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    also = [small_pool((0, 0), seed, SMALL) for seed in (4, 5)]
    path.write_text(yaml.safe_dump(data | {"train_also": also}), encoding="utf-8")
    patients = pool(read_recipe(path), "train_also")
    assert len(patients) == 2
    assert not np.array_equal(patients[0].tissue, patients[1].tissue)
    path.write_text(yaml.safe_dump(data | {"train_also": also[0]}), encoding="utf-8")
    recipe = read_recipe(path)
    patients = [*pool(recipe, "train"), *pool(recipe, "train_also")]
    assert len(patients) == 3
    source = PhantomSource(patients, patch_settings(), CLASSES, seed=0)
    alone = PhantomSource(patients[:2], patch_settings(), CLASSES, seed=0)
    assert any(not torch.equal(source.sample(i)["label"], alone.sample(i)["label"]) for i in range(6))
    assert pool(replace(recipe, train_also=()), "train_also") == []


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"refiner": {"initial": "undistilled"}}, "does not train before it"),
        ({"undistilled": {}, "locator": {"initial": "undistilled"}}, "does not train before it"),
        ({"undistilled": {"network": "unet"}, "refiner": {"initial": "undistilled"}}, "in network"),
        ({"undistilled": {}, "refiner": {"initial": "undistilled", "initial_classes": ["tumor"]}}, "as it is"),
    ],
)
def test_a_network_that_cannot_go_on_from_another_is_refused(tmp_path, networks, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe(changed_recipe(tiny_recipe(tmp_path), **networks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"initial_parameters": {"widths": [2, 4]}}, "without initial"),
        ({"initial": "x", "initial_parameters": {"widths": [2, 4]}, "initial_classes": ["tumor"]}, "one of them"),
        ({"logit_shift": {"tumour": 1.0}}, "tumour"),
        ({"training": {"steps": 0}}, "0 steps and no initial"),
        ({"keep_share": 0.5}, "names no network"),
    ],
)
def test_what_a_network_cannot_begin_with_or_shift_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe(changed_recipe(tiny_recipe(tmp_path), refiner=change))


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


def test_a_recipe_says_only_where_it_differs_from_its_base_network_by_network(tmp_path):
    base = tiny_recipe(tmp_path)
    path = tmp_path / "other.yaml"
    change = {"base": base.name, "version": "9.9.9", "networks": {"refiner": {"training": {"steps": 7}}}}
    path.write_text(yaml.safe_dump(change), encoding="utf-8")
    below, above = read_recipe(base), read_recipe(path)
    assert above.version == "9.9.9"
    assert above.networks["refiner"].training.steps == 7
    assert above.networks["refiner"].patch == below.networks["refiner"].patch
    assert above.networks["locator"] == below.networks["locator"]
    base.write_text(base.read_text(encoding="utf-8") + "base: other.yaml\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="based on it"):
        read_recipe(path)
