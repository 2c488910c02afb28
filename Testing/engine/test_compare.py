"""A comparison trains every method alike, resumes unit by unit, and reports what it measured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file

import hlfd
from hlfd.checkpoint import save_weights
from hlfd.cli.main import run as run_cli
from hlfd.compare.data import (
    StoredPatches,
    patch_file,
    phantom_source,
    pool_entries,
    prepare_data,
    read_tensors,
    scan_file,
    scan_sample,
)
from hlfd.compare.run import report_only, run_compare
from hlfd.compare.settings import CompareSettings, data_key, read_compare, unit_key
from hlfd.compare.student import build_student, initial_sha256
from hlfd.compare.teacher import load_teacher, teacher_outputs
from hlfd.compare.unit import run_unit
from hlfd.data.phantom_source import class_lookup
from hlfd.errors import CancelledError, ConfigError, InputError, ModelError
from hlfd.events import CancelToken, Progress, Warn
from hlfd.networks import MergeClasses, build_network, fold_batchnorm

SMALL = {"shape": [24, 40, 48], "centre_z": 0.0, "tumors": 1}
METHODS = {
    "none": {"methods": [{"name": "none"}]},
    "kd": {"methods": [{"name": "kd"}]},
}


def part(folder: Path, cases: tuple[int, int], seed: int, **more) -> dict:
    pool = {"cases": list(cases), "spacing_mm": 6.0, "seed": seed, "shapes": "procedural", "anatomy": SMALL}
    return {"folder": str(folder / "pool" / str(seed)), "pool": pool, "seed": seed, **more}


def tiny_config(folder: Path, **changes) -> dict:
    """A comparison of two entries with networks, patches and steps as small as they get."""
    data = {
        "title": "Tiny <comparison>",
        "folder": str(folder / "out"),
        "student": {"network": "s2d_unet", "parameters": {"widths": [4, 8]}},
        "teacher": {
            "network": "s2d_unet",
            "parameters": {"widths": [8, 12]},
            "weights": str(folder / "teacher.safetensors"),
        },
        "classes": {
            "kidney": ["left kidney", "right kidney"],
            "tumor": ["kidney tumor"],
            "cyst": ["kidney cyst"],
            "liver": ["liver", "liver tumor"],
        },
        "exported": {"kidney": ["kidney"], "tumor": ["tumor"], "cyst": ["cyst"]},
        "auxiliary": True,
        "patch": {"spacing_mm": 6.0, "size": [16, 16, 16], "windows": [[-200, 300], [-1000, 1000]]},
        "train": part(folder, (0, 1), 1, patches=5),
        "validation": part(folder, (2, 2), 2, patches=2),
        "test": part(folder, (3, 4), 3),
        "training": {"steps": 4, "batch_size": 2, "warmup_steps": 1, "validate_every": 2, "checkpoint_every": 1,
                     "log_every": 1, "precision": "float32", "device": "cpu"},
        "methods": METHODS,
        "seeds": [0, 1],
        "bootstrap": {"resamples": 200},
    }  # fmt: skip
    return {**data, **changes}


def write(folder: Path, data: dict) -> Path:
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def save_teacher(folder: Path) -> None:
    torch.manual_seed(7)
    save_weights(build_network("s2d_unet", in_channels=2, classes=5, widths=(8, 12)), folder / "teacher.safetensors")


def stamps(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.json"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder, path, outcome, events of a comparison: one method in two processes, the other here, which is quicker."""
    folder = tmp_path_factory.mktemp("compare")
    save_teacher(folder)
    path = write(folder, tiny_config(folder))
    events = []
    prepare_data(read_compare(path))  # here too: test_processes.py has what several processes do
    run_compare(path, jobs=2, on_event=events.append, only=["none"])
    for seed in (0, 1):
        run_unit(read_compare(path), "kd", seed)
    return folder / "out", path, run_compare(path), events


def test_every_method_is_trained_with_every_seed_for_equal_steps(finished):
    out, _, outcome, _ = finished
    assert outcome.failed == {}
    units = outcome.results["units"]
    assert {name: sorted(found) for name, found in units.items()} == {name: ["0", "1"] for name in METHODS}
    assert {unit["steps"] for found in units.values() for unit in found.values()} == {4}
    assert all((out / "units" / name / f"seed_{seed}" / "best.safetensors").is_file()
               for name in METHODS for seed in (0, 1))  # fmt: skip


def test_results_hold_raw_numbers_differences_times_and_curves(finished):
    out, _, outcome, _ = finished
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results == outcome.results
    assert results["cases"] == ["00003", "00004"]
    unit = results["units"]["kd"]["1"]
    assert sorted(unit["scores"]) == ["00003_00", "00004_00"]
    assert set(unit["scores"]["00003_00"]) == {"tumor", "masses", "kidney"}
    assert [point["step"] for point in unit["curve"]] == [2, 4]
    assert "train/kd/kd" in unit["curve"][0]
    assert unit["step_ms"] > 0
    assert unit["memory_mb"] > 0
    rows = {row["method"]: row for row in results["table"]}
    assert "difference" not in rows["none"]["tumor"]
    scores = {name: [[unit["scores"][scan]["kidney"] for scan in results["scans"]] for unit in found.values()]
              for name, found in results["units"].items()}  # fmt: skip
    mean = sum(map(sum, scores["kd"])) / 4
    expected = mean - sum(map(sum, scores["none"])) / 4
    assert rows["kd"]["kidney"]["mean"] == pytest.approx(mean)
    assert rows["kd"]["kidney"]["difference"]["mean"] == pytest.approx(expected)
    assert results["teacher"]["parameters"] > unit["parameters"]


def test_the_report_is_one_page_with_plots_and_escaped_text(finished):
    out, _, _, _ = finished
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Tiny &lt;comparison&gt;" in page
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert (out / "table.md").read_text(encoding="utf-8").count("\n") == 2 + len(METHODS) + 1
    assert (out / "table.csv").read_text(encoding="utf-8").count("\n") == 1 + 3 * len(METHODS)


def test_progress_runs_to_the_end(finished):
    progress = [event for event in finished[3] if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == 2


def test_all_methods_start_from_the_same_weights_and_see_the_same_patches(finished):
    settings = read_compare(finished[1])
    first, again, other = (build_student(settings, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    files = [patch_file(settings, "train", index) for index in range(5)]
    plain, taught = StoredPatches(files, 0), StoredPatches(files, 0, ["out"])
    assert all(torch.equal(plain.sample(i)["image"], taught.sample(i)["image"]) for i in range(10))


def begun_with(finished, initial: Path) -> CompareSettings:
    settings = read_compare(finished[1])
    return replace(settings, student=replace(settings.student, initial=str(initial)))


def test_students_can_begin_with_trained_weights_and_then_the_seed_changes_nothing_of_them(finished):
    trained = finished[0] / "units" / "none" / "seed_0" / "best.safetensors"
    settings = begun_with(finished, trained)
    first, other = (build_student(settings, seed).state_dict() for seed in (0, 1))
    expected = load_file(trained)
    assert all(torch.equal(first[name], tensor) for name, tensor in expected.items())
    assert all(torch.equal(first[name], other[name]) for name in first)


def test_students_can_begin_with_the_weights_of_a_package(finished, tmp_path):
    settings = read_compare(finished[1])
    trained = build_student(begun_with(finished, finished[0] / "units" / "none" / "seed_0" / "best.safetensors"), 0)
    packaged = fold_batchnorm(MergeClasses(trained, settings.student_groups()).eval())
    save_weights(packaged, tmp_path / "refiner.safetensors")
    begun = build_student(begun_with(finished, tmp_path / "refiner.safetensors"), 0)
    image = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(begun.eval()(image), trained.eval()(image), rtol=1e-3, atol=1e-4)


def test_units_of_other_first_weights_are_other_units_but_the_data_is_the_same(finished, tmp_path):
    settings = read_compare(finished[1])
    begun = begun_with(finished, finished[0] / "units" / "none" / "seed_0" / "best.safetensors")
    assert data_key(settings, "x") == data_key(begun, "x")
    random, trained = unit_key(settings, "kd", 0, "x"), unit_key(begun, "kd", 0, "x", initial_sha256(begun))
    assert random != trained
    assert unit_key(begun, "kd", 0, "x", "other") != trained


@pytest.mark.parametrize(("file", "error", "match"), [("none.safetensors", ConfigError, "are missing"),
                                                      ("teacher.safetensors", ModelError, "parameters")])  # fmt: skip
def test_first_weights_that_are_missing_or_of_another_network_are_refused(finished, file, error, match):
    with pytest.raises(error, match=match):
        build_student(begun_with(finished, finished[1].parent / file), 0)


def test_stored_patches_give_each_patch_once_per_round_in_another_order(finished):
    settings = read_compare(finished[1])
    files = [patch_file(settings, "train", index) for index in range(5)]
    source = StoredPatches(files, seed=3)
    images = [read_tensors(path, ["image"])["image"].float() for path in files]
    orders = [
        [next(k for k, image in enumerate(images) if torch.equal(image, source.sample(i)["image"])) for i in indices]
        for indices in (range(5), range(5, 10))
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(5))
    assert orders[0] != orders[1]


def test_kept_teacher_outputs_are_what_the_teacher_says(finished):
    settings = read_compare(finished[1])
    record = json.loads((settings.folder / "data" / "data.json").read_text(encoding="utf-8"))
    tensors = read_tensors(patch_file(settings, "train", 3))
    teacher = load_teacher(settings)
    with torch.no_grad():
        logits = teacher(tensors["image"].float()[None])[0]
    torch.testing.assert_close(tensors["teacher/out"].float(), logits, rtol=2e-3, atol=2e-3)
    sample = StoredPatches([patch_file(settings, "train", 3)], 0, list(record["channels"]), record["alias"]).sample(0)
    for tap, count in record["channels"].items():
        assert sample[f"teacher/{tap}"].shape[0] == count
        assert sample[f"teacher/{tap}"].dtype == torch.float32


def test_with_context_the_teacher_sees_more_and_the_patch_stays_as_large(finished, tmp_path):
    data = yaml.safe_load(copy_of(finished, tmp_path).read_text(encoding="utf-8"))
    shutil.rmtree(tmp_path / "out" / "data")
    data["train"] |= {"patches": 1, "context": 8}
    settings = read_compare(write(tmp_path, data))
    prepare_data(settings)
    tensors = read_tensors(patch_file(settings, "train", 0))
    whole = phantom_source(settings, "train").sample(0)
    assert whole["image"].shape[1:] == (32, 32, 32)
    assert torch.equal(tensors["image"], whole["image"][:, 8:24, 8:24, 8:24].half())
    assert torch.equal(tensors["label"].long(), whole["label"][8:24, 8:24, 8:24])
    outputs = teacher_outputs(load_teacher(settings), whole["image"].half().float())
    assert torch.equal(tensors["teacher/out"], outputs["out"][:, 8:24, 8:24, 8:24])
    assert torch.equal(tensors["teacher/e1"], outputs["e1"][:, 4:12, 4:12, 4:12])


def test_an_output_read_by_two_taps_is_kept_once():
    network = build_network("s2d_unet", in_channels=1, classes=2, widths=(4, 8)).eval()
    kept = teacher_outputs(network, torch.zeros(1, 16, 16, 16))
    assert network.taps["d2"] == network.taps["d3"]
    assert "d2" not in kept or "d3" not in kept


def test_scored_boxes_hold_the_kidneys_and_fit_the_student(finished):
    settings = read_compare(finished[1])
    for entry in pool_entries(settings.test):
        sample = scan_sample(settings, scan_file(settings, entry))
        assert sample["image"].shape[1:] == sample["label"].shape
        assert all(n % 4 == 0 for n in sample["label"].shape)
        in_box = int((sample["label"] == 1).sum())
        assert in_box == int((class_lookup(settings.classes)[entry.tissue] == 1).sum())


def test_a_finished_comparison_trains_nothing_again(finished):
    out, path, _, _ = finished
    before = stamps(out / "units")
    run_compare(path)
    assert stamps(out / "units") == before


def copy_of(finished, tmp_path: Path, **changes) -> Path:
    """Copy a finished comparison with its data, and write a configuration for the copy."""
    out, path, _, _ = finished
    shutil.copytree(out, tmp_path / "out")
    shutil.copy(path.parent / "teacher.safetensors", tmp_path)
    return write(
        tmp_path, {**yaml.safe_load(path.read_text(encoding="utf-8")), "folder": str(tmp_path / "out"), **changes}
    )


def test_a_broken_unit_is_resumed_and_gives_the_same_weights(finished, tmp_path):
    out, _, _, _ = finished
    settings = read_compare(copy_of(finished, tmp_path))
    unit = settings.unit_folder("kd", 1)
    shutil.rmtree(unit)
    stopped = CancelToken()
    stopped.cancel()
    with pytest.raises(CancelledError):
        run_unit(settings, "kd", 1, stopped)
    assert (unit / "checkpoint.pt").is_file()
    assert not (unit / "unit.json").exists()
    result = run_unit(settings, "kd", 1)
    whole = out / "units" / "kd" / "seed_1"
    assert result["scores"] == json.loads((whole / "unit.json").read_text())["scores"]
    assert (unit / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
    assert not (unit / "checkpoint.pt").exists()


def test_a_method_added_later_leaves_the_others_as_they_are(finished, tmp_path):
    methods = {**METHODS, "hot": {"methods": [{"name": "kd", "temperature": 8.0}]}}
    path = copy_of(finished, tmp_path, methods=methods, seeds=[0])
    units = tmp_path / "out" / "units"
    before = stamps(units)
    outcome = run_compare(path)
    after = stamps(units)
    assert {name: after[name] for name in before} == before
    assert [row["method"] for row in outcome.results["table"]].count("hot") == 1


def test_other_settings_in_the_same_folder_are_refused(finished, tmp_path):
    _, path, _, _ = finished
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = tmp_path / "changed.yaml"
    data["methods"]["kd"] = {"methods": [{"name": "kd", "temperature": 2.0}]}
    changed.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="trained with other settings"):
        run_compare(changed)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["patch"]["flip_share"] = 0.0
    changed.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match="data made with other settings"):
        run_compare(changed)


def test_the_report_of_a_part_names_what_is_missing(finished, tmp_path):
    out, path, _, _ = finished
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["methods"]["later"] = {"methods": [{"name": "kd", "weight": 3.0}]}
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump(data), encoding="utf-8")
    outcome = report_only(more)
    assert outcome.results["missing"] == ["later, seed 0", "later, seed 1"]
    assert "Not finished" in (out / "report.html").read_text(encoding="utf-8")
    report_only(path)


def test_the_online_teacher_guides_where_no_outputs_are_kept(finished, tmp_path):
    data = yaml.safe_load(copy_of(finished, tmp_path).read_text(encoding="utf-8"))
    data["train"]["patches"] = 0
    data["methods"]["online"] = {"methods": ["kd"]}
    result = run_unit(read_compare(write(tmp_path, data)), "online", 0)
    assert result["curve"][-1]["train/kd/kd"] > 0


def test_a_failed_unit_is_named_and_the_others_are_reported(finished, tmp_path):
    path = copy_of(finished, tmp_path, methods={**METHODS, "hot": {"methods": [{"name": "kd", "temperature": 8.0}]}})
    for file in (tmp_path / "out" / "data" / "train").iterdir():
        file.write_bytes(b"damaged")
    events = []
    outcome = run_compare(path, jobs=2, on_event=events.append)
    assert sorted(outcome.failed) == ["hot, seed 0", "hot, seed 1"]
    assert "damaged" in outcome.failed["hot, seed 0"]["message"]
    assert any(isinstance(event, Warn) and "hot, seed 0 failed" in event.message for event in events)
    assert outcome.results["missing"] == ["hot, seed 0", "hot, seed 1"]
    assert len(outcome.results["table"]) == len(METHODS)


def test_a_package_gives_its_network_before_its_classes_were_merged(tmp_path):
    torch.manual_seed(7)
    network = build_network("s2d_unet", in_channels=2, classes=5, widths=(8, 12)).eval()
    merged = MergeClasses(network, [[0, 4], [1], [2], [3]])
    save_weights(merged, tmp_path / "teacher.safetensors")
    loaded = load_teacher(read_compare(write(tmp_path, tiny_config(tmp_path))))
    image = torch.randn(1, 2, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {"none": METHODS["none"], "x": {"methods": [{"name": "kdd"}]}}}, "kdd"),
        ({"methods": {"kd": METHODS["kd"]}}, "baseline"),
        ({"methods": {"none": METHODS["none"], "a/b": METHODS["kd"]}}, "cannot name a method"),
        ({"methods": {"none": {**METHODS["none"], "seed": 3}}}, "same for all methods"),
        ({"teacher": {"package": "kidney", "recipe": "x.yaml"}}, "one was expected"),
        ({"teacher": {"network": "s2d_unet", "weights": "gone.safetensors"}}, "gone.safetensors"),
        ({"teacher": {"package": "kidney", "role": "refiner"}}, "The teacher sees 1.5 mm"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"validation": part(Path("v"), (2, 2), 2, patches=2, context=2)}, "context is 2; a multiple of 4"),
        ({"colour": 1}, "colour"),
        ({"exported": {"kidney": ["kidney"]}}, "tumor"),
        ({"exported": {"tumor": ["tumor"], "cyst": ["cyst"]}}, "one organ beside tumor and cyst"),
        ({"train": None}, "lacks or misstates"),
        ({"patch": {"spacing_mm": 6.0, "size": [18, 16, 16], "windows": [[-200, 300], [-1000, 1000]]}}, "multiples"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_before_anything_is_made(tmp_path, change, message):
    save_teacher(tmp_path)
    path = write(tmp_path, tiny_config(tmp_path, **change))
    with pytest.raises(ConfigError, match=message):
        run_compare(path)
    assert not (tmp_path / "out" / "data" / "train").exists()


def test_a_teacher_with_other_classes_is_refused(tmp_path):
    weights = tmp_path / "teacher.safetensors"
    save_weights(build_network("s2d_unet", in_channels=2, classes=4, widths=(8, 12)), weights)
    with pytest.raises(ModelError, match="shape"):
        run_compare(write(tmp_path, tiny_config(tmp_path)))


def test_a_liver_is_scored_with_its_tumors_and_has_no_cysts(tmp_path):
    save_weights(build_network("s2d_unet", in_channels=2, classes=4, widths=(8, 12)), tmp_path / "teacher.safetensors")
    classes = {"liver": ["liver"], "liver tumor": ["liver tumor"], "spleen": ["spleen"]}
    exported = {"liver": ["liver"], "tumor": ["liver tumor"]}
    changes = {
        "classes": classes,
        "exported": exported,
        "auxiliary": False,
        "seeds": [0],
        "methods": {"none": METHODS["none"]},
    }
    path = write(tmp_path, tiny_config(tmp_path, **changes))
    outcome = run_compare(path)
    assert outcome.failed == {}
    (row,) = outcome.results["table"]
    assert {"tumor", "liver"} <= set(row)
    assert not {"masses", "kidney"} & set(row)
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table.startswith("| method | tumor Dice | - none | liver Dice | - none |")


def test_without_a_finished_method_there_is_nothing_to_report(tmp_path):
    with pytest.raises(InputError, match=r"data\.json"):
        report_only(write(tmp_path, tiny_config(tmp_path)))


def test_the_command_prints_a_table_and_json(finished):
    _, path, _, _ = finished
    out = StringIO()
    assert run_cli(["compare", str(path), "--report"], out, StringIO()) == 0
    assert "tumor Dice" in out.getvalue()
    out = StringIO()
    assert run_cli(["compare", str(path), "--report", "--json"], out, StringIO()) == 0
    assert json.loads(out.getvalue())["baseline"] == "none"
    assert run_cli(["compare", str(path), "--jobs", "0"], StringIO(), StringIO()) == 2
    assert run_cli(["compare", str(path), "--only", "kdd"], StringIO(), StringIO()) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_leaves_a_checkpoint_and_no_process(finished, tmp_path):
    path = copy_of(finished, tmp_path)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    data["training"] = {**data["training"], "steps": 100_000, "validate_every": 0, "ema_decay": 0.9}
    data["methods"] = {"none": METHODS["none"]}
    shutil.rmtree(tmp_path / "out" / "units")
    environment = {**os.environ, "PYTHONPATH": str(Path(hlfd.__file__).parents[1])}
    command = [sys.executable, "-m", "hlfd", "compare", str(write(tmp_path, data))]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    unit = tmp_path / "out" / "units" / "none" / "seed_0"
    limit = time.monotonic() + 120
    while not (unit / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert (unit / "checkpoint.pt").is_file()
    stopped = (unit / "metrics.jsonl").stat().st_size
    time.sleep(1.0)
    assert (unit / "metrics.jsonl").stat().st_size == stopped
