"""A model is adapted to a few own cases: a new version that is measured on held-out ones, and the old one stays."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from hlfd.cli.main import run as hlfd
from hlfd.config import SegmentSettings
from hlfd.errors import CancelledError, ConfigError, InputError, ModelError, UsageError
from hlfd.events import CancelToken, Metric, Warn, ignore
from hlfd.inference import Segmenter
from hlfd.inference.backends import OpenvinoBackend
from hlfd.io import read_label_map, read_volume, write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS, LIVER_LABELS
from hlfd.models.amend import add_quality, add_teacher, export_again
from hlfd.models.package import file_sha256, load_package
from hlfd.models.registry import next_version, version_key
from hlfd.models.writer import PackageFacts, TrainedNetwork, write_package
from hlfd.networks import MergeClasses, build_network
from hlfd.training import finetune as finetuning
from hlfd.training.finetune import FinetuneSettings, finetune
from hlfd.training.finetune_data import MixedSource, choose_roles, value_meanings
from hlfd.training.finetune_replay import make_replay
from hlfd.training.finetune_time import LEAST, MOST, affordable_steps, most_steps
from hlfd.training.objective import Supervised
from hlfd.training.recipe import read_recipe
from hlfd.volume import LabelMap

PROJECT = Path(__file__).resolve().parents[2]
CLASSES = ("background", "kidney", "tumor", "cyst")
QUICK = FinetuneSettings(steps=4, patch=16, replay_share=0.0, device="cpu", lr=0.002)


def trained(classes, widths=(8, 16), groups=None, spacing=6.0, openvino=True) -> TrainedNetwork:
    torch.manual_seed(len(classes))
    channels = sum(map(len, groups)) if groups else len(classes)
    parameters = {"in_channels": 1, "classes": channels, "widths": widths}
    module = build_network("s2d_unet", **parameters)
    module = MergeClasses(module, groups) if groups else module
    return TrainedNetwork(module, "s2d_unet", parameters, spacing, [(-100.0, 700.0)], classes, openvino)


def make_package(
    root: Path, labels=KIDNEY_LABELS, classes=CLASSES, teacher=True, locator=True, openvino=True, **changes
):
    facts = PackageFacts(
        *("tiny", "1.2.0", "Tiny", "kidney tumor", labels, {"organs": [classes[1]]}, "CC-BY-NC-SA-4.0", "Not clinical.")
    )
    groups = [[0, len(classes)], *([n] for n in range(1, len(classes)))]
    guide = trained(classes, (8, 24), openvino=False, **changes) if teacher else None
    refiner = trained(classes, groups=groups, openvino=openvino)
    finder = trained(("background", classes[1]), openvino=openvino) if locator else None
    return write_package(root, facts, refiner, finder, guide)


def write_cases(folder: Path, make, count: int = 3) -> Path:
    """Write scans of a drawn patient and their label maps as a CSV and files."""
    names = {"left kidney": 1, "right kidney": 4, "kidney tumor": 2, "kidney cyst": 3}
    folder.mkdir(parents=True)
    rows = ["id,image,label"]
    for number in range(count):
        volume, masks = make.patient(spacing=(6.0, 6.0, 6.0), extent=(240.0, 180.0, 144.0 + 6 * number))
        array = np.zeros(volume.shape, np.uint8)
        for name, value in names.items():
            array[masks[name]] = value
        write_volume(volume, folder / f"{number}.nii.gz")
        write_label_map(LabelMap(array, volume.affine, KIDNEY_LABELS), folder / f"{number}-label.nii.gz")
        rows.append(f"p{number},{number}.nii.gz,{number}-label.nii.gz")
    (folder / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "cases.csv"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of models with one package, made once, because its export to OpenVINO takes seconds."""
    root = tmp_path_factory.mktemp("made") / "models"
    make_package(root)
    return root


@pytest.fixture
def package(models, tmp_path):
    """An own copy of the package, which a test may change."""
    return load_package(shutil.copytree(models, tmp_path / "models") / "tiny" / "1.2.0")


@pytest.fixture
def cases(tmp_path, make) -> Path:
    return write_cases(tmp_path / "own", make)


def test_a_new_version_is_written_and_compared_and_the_old_one_stays(package, cases, tmp_path, capsys):
    package = add_quality(package, {"limits": {"soft": [0.01, None]}, "scans": 3})
    before = {path.name: file_sha256(path) for path in package.folder.iterdir()}
    arguments = ["--data", str(cases), "--out", str(tmp_path / "out"), "--steps", "4", "--patch", "16", "--replay", "0"]
    assert hlfd(["finetune", str(package.folder), *arguments, "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {path.name: file_sha256(path) for path in package.folder.iterdir()} == before
    new = load_package(Path(result["package"]))
    assert (new.name, new.version, new.licence) == ("tiny", "1.2.0.1", package.licence)
    assert set(result["table"]["kidney_and_masses"]) == {"before", "after"}
    assert {"dice", "nsd_1mm", "nsd_2mm", "volume_error_ml"} == set(result["table"]["tumor"]["after"])
    assert new.metadata["provenance"]["finetuned_from"] == "tiny 1.2.0"
    assert new.metadata["provenance"]["local_cases"] == {"train": 2, "held_out": 1}
    assert new.metadata["provenance"]["guide"] == "the package's own teacher"
    assert "p0" not in (new.folder / "model.json").read_text(encoding="utf-8")
    assert new.metadata["quality"]["taken_from"] == "tiny 1.2.0"
    assert "before the fine-tuning" in (new.folder / "README.md").read_text(encoding="utf-8")
    assert new.refiner.groups == package.refiner.groups
    assert file_sha256(new.folder / "refiner.safetensors") != before["refiner.safetensors"]
    assert file_sha256(new.folder / "locator.safetensors") == before["locator.safetensors"]
    volume = read_volume(cases.parent / "0.nii.gz")
    assert Segmenter(new, SegmentSettings(device="cpu")).run(volume).label_map.shape == volume.shape


def test_a_package_gets_the_teacher_of_another_and_its_student_stays_bit_for_bit(package, tmp_path):
    plain = make_package(tmp_path / "plain", teacher=False)
    made = add_teacher(plain, package, "1.2.1")
    assert made.teacher is not None
    assert made.version == "1.2.1"
    assert file_sha256(made.teacher.weights) == file_sha256(package.folder / "teacher.safetensors")
    assert file_sha256(made.folder / "refiner.safetensors") == file_sha256(plain.folder / "refiner.safetensors")
    assert load_package(plain.folder).teacher is None
    assert made.metadata["provenance"]["networks"]["teacher"]["taken_from"] == "tiny 1.2.0"
    assert "teacher" in (made.folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ModelError, match="there already"):
        add_teacher(plain, package, "1.2.1")
    with pytest.raises(ModelError, match="has no teacher"):
        add_teacher(package, plain, "1.2.2")


def test_a_version_with_new_openvino_networks_keeps_weights_and_answers(package):
    made = export_again(package, "1.2.9")
    roles = [role for role, entry in package.networks().items() if entry.openvino is not None]
    assert roles
    for role in roles:
        old, new = package.networks()[role], made.networks()[role]
        assert file_sha256(old.weights) == file_sha256(new.weights)
        channels = np.random.default_rng(0).uniform(-1, 1, (1, len(old.windows), *(2 * old.divisor,) * 3))
        answers = [OpenvinoBackend.load(entry, 1).infer(channels.astype(np.float32)) for entry in (old, new)]
        np.testing.assert_allclose(*answers, atol=1e-4)
    assert load_package(package.folder).version == "1.2.0"
    with pytest.raises(ModelError, match="there already"):
        export_again(package, "1.2.9")


def test_it_learns_from_a_few_cases(cases, tmp_path):
    package = make_package(tmp_path / "models", teacher=False, locator=False)
    settings = FinetuneSettings(steps=150, patch=16, replay_share=0.0, device="cpu", lr=0.003, guide_weight=0.0)
    done = finetune(package.folder, cases, tmp_path / "out", settings)
    assert done.improved
    assert "kidney" in json.loads((tmp_path / "out" / "finetune.json").read_text(encoding="utf-8"))["decided_by"]
    sides = done.comparison.table["kidney_and_masses"]
    assert sides["after"]["dice"] > sides["before"]["dice"] + 0.2


def test_without_a_teacher_the_old_student_is_the_guide(cases, tmp_path):
    package = make_package(tmp_path / "models", teacher=False)
    events: list = []
    done = finetune(package.folder, cases, tmp_path / "out", QUICK, on_event=events.append)
    assert done.package.metadata["provenance"]["guide"] == "the package's own student"
    assert any("train/kd/kd" in event.values for event in events if isinstance(event, Metric))


def test_what_improved_is_what_is_shipped(cases, tmp_path, monkeypatch):
    """A change that helps on the validation cases and is taken back afterwards is no gain."""
    package = make_package(tmp_path / "models", teacher=False, locator=False, openvino=False)
    monkeypatch.setattr("hlfd.training.finetune_blend.SHARES", (0.0,))
    settings = FinetuneSettings(
        steps=120, patch=16, replay_share=0.02, replay_patients=1, device="cpu", lr=0.003, guide_weight=0.0
    )
    events: list = []
    done = finetune(package.folder, cases, tmp_path / "out", settings, on_event=events.append)
    seen = [event.values["validation/dice"] for event in events if "validation/dice" in getattr(event, "values", {})]
    assert max(seen) > seen[0] + 0.05
    assert not done.improved
    assert any("prefer the old one" in event.message for event in events if isinstance(event, Warn))
    assert json.loads((tmp_path / "out" / "finetune.json").read_text(encoding="utf-8"))["improved"] is False


def test_classes_weigh_as_in_a_recipe_of_students(package, cases, tmp_path):
    run = finetuning.Finetuning(package, cases, tmp_path, QUICK, None, (), ignore, None)
    recipe = read_recipe(PROJECT / "configs" / "kidney" / "kidney.yaml").networks["refiner"]
    assert run.class_weights() == [recipe.class_weights[name] for name in CLASSES]


def test_validation_cases_without_a_lesion_that_is_large_enough_are_named(cases, tmp_path):
    package = make_package(tmp_path / "models", teacher=False, locator=False, openvino=False)
    for number in range(3):
        path = cases.parent / f"{number}-label.nii.gz"
        labels = read_label_map(path)
        write_label_map(replace(labels, array=np.where(labels.array > 1, 4, labels.array).astype(np.uint8)), path)
    events: list = []
    finetune(package.folder, cases, tmp_path / "out", replace(QUICK, steps=1), on_event=events.append)
    messages = [event.message for event in events if isinstance(event, Warn)]
    assert any("No tumor or cyst of 1 ml" in message and "kidney decides alone" in message for message in messages)


def test_a_cancelled_run_goes_on_as_it_was_planned(package, cases, tmp_path):
    cancel = CancelToken()

    def stop(event) -> None:
        if isinstance(event, Metric):
            cancel.cancel()

    with pytest.raises(CancelledError):
        finetune(package.folder, cases, tmp_path / "out", QUICK, on_event=stop, cancel=cancel)
    plan = (tmp_path / "out" / "plan.json").read_bytes()
    done = finetune(package.folder, cases, tmp_path / "out", QUICK)
    assert (tmp_path / "out" / "plan.json").read_bytes() == plan
    assert done.steps == QUICK.steps
    other = make_package(tmp_path / "others", teacher=False, openvino=False)
    with pytest.raises(ConfigError, match="another model or of other cases"):
        finetune(other.folder, cases, tmp_path / "out", QUICK)


class TestRefusals:
    def refusal(self, package, cases, tmp_path, capsys, *more: str) -> str:
        arguments = ["finetune", str(package.folder), "--data", str(cases), "--out", str(tmp_path / "out"), *more]
        assert hlfd([*arguments, "--steps", "2", "--patch", "16", "--replay", "0", "--json"]) == 2
        return json.loads(capsys.readouterr().out)["error"]["message"]

    def test_one_labelled_case_is_too_few(self, package, make, tmp_path, capsys):
        cases = write_cases(tmp_path / "one", make, count=1)
        assert "holds 1 labelled case" in self.refusal(package, cases, tmp_path, capsys)

    def test_an_unknown_case_cannot_be_held_out(self, package, cases, tmp_path, capsys):
        assert "no case p9" in self.refusal(package, cases, tmp_path, capsys, "--held-out", "p9")

    def test_label_values_that_the_model_does_not_know_are_named(self, package, cases, tmp_path, capsys):
        path = cases.parent / "1-label.nii.gz"
        volume = read_volume(cases.parent / "1.nii.gz")
        write_label_map(LabelMap(np.full(volume.shape, 9, np.uint8), volume.affine), path)
        message = self.refusal(package, cases, tmp_path, capsys)
        assert "9" in message
        assert "2 kidney tumor" in message

    def test_an_empty_label_map_is_named(self, package, cases, tmp_path, capsys):
        volume = read_volume(cases.parent / "1.nii.gz")
        empty = LabelMap(np.zeros(volume.shape, np.uint8), volume.affine)
        write_label_map(empty, cases.parent / "1-label.nii.gz")
        message = self.refusal(package, cases, tmp_path, capsys)
        assert "1 of 3 cases cannot be used: p1" in message

    def test_a_teacher_of_other_classes_is_refused(self, package, cases, tmp_path, capsys):
        other = make_package(tmp_path / "liver", LIVER_LABELS, ("background", "liver", "tumor"), openvino=False)
        message = self.refusal(package, cases, tmp_path, capsys, "--teacher", str(other.folder))
        assert "classes" in message
        assert not (tmp_path / "out").exists()

    def test_a_teacher_of_another_spacing_is_refused(self, package, cases, tmp_path, capsys):
        other = make_package(tmp_path / "fine", openvino=False, spacing=1.5)
        message = self.refusal(package, cases, tmp_path, capsys, "--teacher", str(other.folder))
        assert "1.5" in message


class TestData:
    def test_each_case_has_one_role_and_stopping_is_apart_where_there_are_four(self):
        names = [f"c{n}" for n in range(8)]
        roles = choose_roles(names, (), seed=1)
        assert (len(roles.train), len(roles.stop), len(roles.test)) == (5, 1, 2)
        assert sorted([*roles.train, *roles.stop, *roles.test]) == names
        few = choose_roles(names[:3], (), seed=1)
        assert few.stop == few.test
        assert len(few.train) == 2

    def test_named_cases_are_held_out(self):
        assert choose_roles(["a", "b", "c"], ["b"], 0).test == ("b",)
        with pytest.raises(UsageError, match="none is left"):
            choose_roles(["a", "b"], ["a", "b"], 0)

    def test_liver_maps_may_follow_lits(self, tmp_path):
        names = ("background", "liver", "tumor")
        liver = make_package(tmp_path / "liver", LIVER_LABELS, names, teacher=False, openvino=False)
        assert value_meanings(liver, [1, 2]) == {1: 5, 2: 6}
        assert value_meanings(liver, [5, 6]) == {5: 5, 6: 6}
        with pytest.raises(InputError, match="5 liver, 6 liver tumor"):
            value_meanings(liver, [3])

    def test_a_share_of_the_patches_is_replayed(self):
        class Constant:
            def __init__(self, value: float) -> None:
                self.value = value

            def sample(self, index: int):
                return {"image": torch.full((1, 2, 2, 2), self.value), "label": torch.zeros(2, 2, 2, dtype=torch.uint8)}

        source = MixedSource(Constant(0.0), Constant(1.0), 0.3, seed=2)
        share = np.mean([source.sample(index)["image"].mean().item() for index in range(400)])
        assert share == pytest.approx(0.3, abs=0.06)
        assert source.sample(3)["label"].dtype == torch.int64

    def test_replayed_patches_have_the_classes_of_the_model(self, package, tmp_path):
        source = make_replay(package, tmp_path / "pool", patients=1, size=16, seed=0).known
        sample = source.sample(0)
        assert sample["image"].shape == (1, 16, 16, 16)
        assert set(np.unique(sample["label"])) <= {0, 1, 2, 3}
        assert any(source.sample(index)["label"].any() for index in range(6))

    def test_a_model_of_the_liver_replays_studies_of_the_liver(self, package, tmp_path):
        refiner = replace(package.refiner, classes=("background", "liver", "tumor"), spacing_mm=6.0)
        liver = replace(package, labels=LIVER_LABELS, refiner=refiner, region={})
        source = make_replay(liver, tmp_path / "pool", patients=2, size=16, seed=0).known
        assert source.classes == {"liver": ["liver"], "tumor": ["liver tumor"]}
        labels = [source.sample(index)["label"] for index in range(12)]
        assert sum(bool((label > 0).any()) for label in labels) >= 9
        assert any(bool((label == 2).any()) for label in labels)


def test_the_new_version_is_the_newest():
    assert version_key("1.2.0") < version_key("1.2.0.1") < version_key("1.2.0.2") < version_key("1.2.1")


def test_an_installed_version_is_not_taken_again(package, tmp_path, monkeypatch):
    monkeypatch.setenv("HLFD_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "tiny" / "1.2.0").rename(tmp_path / "models" / "tiny" / "1.2.0.1")
    assert next_version(package.name, package.version) == "1.2.0.2"


def test_few_cases_are_not_learned_by_heart():
    assert [most_steps(cases) for cases in (1, 4, 20, 500)] == [200, 300, 1500, MOST]


def test_the_number_of_steps_follows_from_the_time(package):
    class Patches:
        def sample(self, index: int):
            return {"image": torch.zeros(1, 8, 8, 8), "label": torch.zeros(8, 8, 8, dtype=torch.uint8)}

    network = build_network("s2d_unet", in_channels=1, classes=2, widths=(4, 8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def steps(seconds: float, **most: int) -> int:
        arguments = (network, Supervised(), Patches(), 1, "cpu")
        return affordable_steps(*arguments, seconds=seconds, validate=lambda net: None, validations=1, **most)

    assert steps(0.0) == LEAST
    assert steps(1e6) == MOST
    assert steps(1e6, most=300) == 300
    assert all((tensor == before[name]).all() for name, tensor in network.state_dict().items())
