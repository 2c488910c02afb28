"""Slices of labelled cases, their scores, and the recipes of the papers from the data set to scored networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")

from hlfd.cli.main import run as hlfd  # noqa: E402
from hlfd.data.layouts import Case  # noqa: E402
from hlfd.data.slices import SliceCase, SliceSettings, SliceSource, keep_slices, to_sample, varied  # noqa: E402
from hlfd.distillation import build_objective  # noqa: E402
from hlfd.errors import ConfigError, EmptyInputError, GeometryError, InputError, UsageError  # noqa: E402
from hlfd.features import FeatureTap  # noqa: E402
from hlfd.io import write_label_map, write_volume  # noqa: E402
from hlfd.networks import build_network  # noqa: E402
from hlfd.training.schedule import learning_rate, make_optimizer  # noqa: E402
from hlfd.training.settings import TrainSettings  # noqa: E402
from hlfd.training.slice_recipe import SliceRecipe, read_slice_recipe  # noqa: E402
from hlfd.training.slice_run import run_slice_recipe  # noqa: E402
from hlfd.training.slice_validation import SliceCounts, SliceValidator, count_slices, summarise_figures  # noqa: E402
from hlfd.volume import LabelMap, Volume  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = ("hlfd-kits", "hlfd-lits", "emkd-kits")
SHAPE = (6, 40, 44)
SETTINGS = SliceSettings(
    windows=((-200.0, 300.0),), size=(40, 40), crop_start=(4, 6), crop=(32, 32), flips=False, turns=False
)


def make_case(slices: int = SHAPE[0], seed: int = 0, tumor: bool = True) -> tuple[Volume, LabelMap]:
    """An organ (1) in all slices with a bright tumor (2) in two; HU rise along every axis."""
    z, y, x = np.ogrid[:slices, : SHAPE[1], : SHAPE[2]]
    hu = (2 * z + y + 3 * x - 150).astype(np.int16)
    label = np.zeros(hu.shape, np.uint8)
    label[:, 10:30, 12:32] = 1
    if tumor:
        label[2:4, 14 + seed : 22 + seed, 16:26] = 2
    hu[label == 2] = 250
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    return Volume(hu, affine, "case"), LabelMap(label, affine)


def write_pair(folder: Path, name: str = "a", pair: tuple[Volume, LabelMap] | None = None) -> Case:
    volume, label_map = pair or make_case()
    case = Case(name, folder / f"{name}.nrrd", folder / f"{name}-label.nrrd")
    write_volume(volume, case.image)
    write_label_map(label_map, case.label)
    return case


def in_memory(name: str = "a", seed: int = 0, size: int = 40, tumor: bool = True) -> SliceCase:
    volume, label_map = make_case(seed=seed, tumor=tumor)
    image, label = volume.array[:, :size, :size], label_map.array[:, :size, :size]
    present = {v: tuple(np.flatnonzero((label == v).any((1, 2))).tolist()) for v in (1, 2) if (label == v).any()}
    return SliceCase(name, image, label, present, 0.00192)


class Brighter(torch.nn.Module):
    """Says target where the first window is above a value."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(level))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(image), 50 * (image - self.level)], 1)


class TestKeptSlices:
    def test_rows_run_to_posterior_and_columns_to_the_left_of_the_patient(self, tmp_path):
        volume, label_map = make_case()
        kept = keep_slices(write_pair(tmp_path), tmp_path / "kept", SHAPE[1:])
        assert np.array_equal(kept.image, volume.array[:, ::-1, ::-1])  # file axes: to right, anterior, superior
        assert np.array_equal(kept.label, label_map.array[:, ::-1, ::-1])

    @pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
    def test_the_order_of_axes_in_the_file_makes_no_difference(self, tmp_path, axes: tuple[int, int, int]):
        volume, label_map = make_case()
        columns = [2 - axes[2 - column] for column in range(3)]
        affine = volume.affine.copy()
        affine[:3, :3] = affine[:3, columns]
        turned = [np.ascontiguousarray(array.transpose(axes)) for array in (volume.array, label_map.array)]
        case = write_pair(tmp_path, pair=(Volume(turned[0], affine, "case"), LabelMap(turned[1], affine)))
        kept = keep_slices(case, tmp_path / "kept", SHAPE[1:])
        assert np.array_equal(kept.image, volume.array[:, ::-1, ::-1])
        assert np.array_equal(kept.label, label_map.array[:, ::-1, ::-1])

    def test_slices_of_another_size_are_resized_and_keep_their_volume(self, tmp_path):
        case = write_pair(tmp_path)
        own, double = (keep_slices(case, tmp_path / str(n), (40 * n, 44 * n)) for n in (1, 2))
        assert double.image.shape == (6, 80, 88)
        assert double.present == own.present == {1: (0, 1, 2, 3, 4, 5), 2: (2, 3)}
        volumes = [np.count_nonzero(kept.label == 2) * kept.voxel_ml for kept in (own, double)]
        assert volumes[0] == pytest.approx(2 * 8 * 10 * 0.8 * 0.8 * 3 / 1000)
        assert volumes[1] == pytest.approx(volumes[0])

    def test_they_are_cut_once_and_again_when_the_file_changes(self, tmp_path):
        case = write_pair(tmp_path)
        keep_slices(case, tmp_path / "kept", (40, 44))
        first = (tmp_path / "kept" / "image.npy").stat().st_mtime_ns
        keep_slices(case, tmp_path / "kept", (40, 44))
        assert (tmp_path / "kept" / "image.npy").stat().st_mtime_ns == first
        write_pair(tmp_path, pair=make_case(slices=7))
        assert len(keep_slices(case, tmp_path / "kept", (40, 44)).image) == 7

    def test_a_case_cut_half_is_cut_again(self, tmp_path):
        case = write_pair(tmp_path)
        keep_slices(case, tmp_path / "kept", (40, 44))
        (tmp_path / "kept" / "case.json").write_text('{"key": 1')
        assert keep_slices(case, tmp_path / "kept", (40, 44)).present[2] == (2, 3)

    def test_what_cannot_be_used_is_said(self, tmp_path):
        volume, label_map = make_case()
        empty = LabelMap(np.zeros_like(label_map.array), label_map.affine)
        shifted = LabelMap(label_map.array, label_map.affine @ np.diag([1.1, 1, 1, 1]))
        with pytest.raises(EmptyInputError, match="background only"):
            keep_slices(write_pair(tmp_path, "e", (volume, empty)), tmp_path / "kept", (40, 44))
        with pytest.raises(GeometryError, match="one grid"):
            keep_slices(write_pair(tmp_path, "s", (volume, shifted)), tmp_path / "kept", (40, 44))
        with pytest.raises(InputError, match=r"values \[2\]; \[1\] are known"):
            keep_slices(write_pair(tmp_path), tmp_path / "kept", (40, 44), known_values=[1])
        with pytest.raises(EmptyInputError, match="no label map"):
            keep_slices(Case("n", tmp_path / "a.nrrd", None), tmp_path / "kept", (40, 44))


class TestSliceSource:
    def test_an_epoch_shows_every_slice_with_tumor_once(self):
        cases = [in_memory("a"), in_memory("b", seed=1), in_memory("none", tumor=False)]
        source = SliceSource(cases, SETTINGS, [2])
        assert len(source) == 4
        expected = {to_sample(c.image[n], c.label[n], SETTINGS, [2])["image"].numpy().tobytes()
                    for c in cases[:2] for n in (2, 3)}  # fmt: skip
        for epoch in range(3):
            shown = [source.sample(4 * epoch + n)["image"].numpy().tobytes() for n in range(4)]
            assert len(shown) == len(set(shown)) == 4
            assert set(shown) == expected

    def test_the_order_changes_between_epochs_and_follows_the_seed(self):
        cases = [in_memory(str(seed), seed=seed) for seed in range(4)]

        def order(seed: int, epoch: int) -> list[bytes]:
            source = SliceSource(cases, SETTINGS, [2], seed)
            return [source.sample(8 * epoch + n)["image"].numpy().tobytes() for n in range(8)]

        assert order(0, 0) == order(0, 0)
        assert order(0, 0) != order(0, 1)
        assert order(0, 0) != order(1, 0)

    def test_a_sample_does_not_depend_on_what_was_drawn_before(self):
        settings = replace(SETTINGS, flips=True, turns=True)
        cases = [in_memory(str(seed), seed=seed) for seed in range(3)]
        forward, backward = (SliceSource(cases, settings, [2]) for _ in range(2))
        shown = [forward.sample(n) for n in range(15)]
        for n in reversed(range(15)):
            assert all(torch.equal(shown[n][key], value) for key, value in backward.sample(n).items())

    def test_the_window_goes_to_minus_one_and_one_and_the_target_to_one(self):
        sample = SliceSource([in_memory()], SETTINGS, [2]).sample(0)
        assert sample["image"].shape == (1, 32, 32)
        assert sample["image"].dtype == torch.float32
        assert sample["label"].dtype == torch.uint8
        tumor = sample["label"] == 1
        assert int(tumor.sum()) == 8 * 10  # the organ is background
        assert torch.allclose(sample["image"][0][tumor], torch.tensor(2 * 450 / 500 - 1))

    def test_all_eight_ways_to_mirror_and_turn_occur_and_the_label_follows(self):
        rng, settings = np.random.default_rng(0), replace(SETTINGS, flips=True, turns=True)
        image = np.arange(16).reshape(4, 4)
        seen = set()
        for _ in range(200):
            one, other = varied((image, image % 5), settings, rng)
            assert np.array_equal(one % 5, other)
            seen.add(one.tobytes())
        assert len(seen) == 8

    def test_no_slice_with_the_target_is_refused(self):
        with pytest.raises(EmptyInputError, match="None of the 1 cases holds tumor"):
            SliceSource([in_memory(tumor=False)], SETTINGS, [2])

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"windows": ((300.0, -200.0),)}, "low < high"),
            ({"crop": (40, 40)}, "leaves the slice"),
            ({"size": (40, 44), "turns": True}, "square"),
            ({"threshold": 1.0}, "between 0 and 1"),
            ({"target": ()}, "target is empty"),
        ],
    )
    def test_settings_that_make_no_sense_are_refused(self, change: dict[str, Any], fault: str):
        with pytest.raises(ConfigError, match=fault):
            replace(SETTINGS, **change)


class TestScores:
    def test_each_figure_by_hand(self):
        counts = SliceCounts(np.array([4, 6, 5]), np.array([0, 10, 5]), np.array([0, 4, 5]))
        figures = counts.figures()
        assert figures["dice"] == pytest.approx(2 * 9 / (15 + 15))
        assert figures["slice_dice"] == pytest.approx((8 / 16 + 1) / 2)
        assert figures["target_slices_dice"] == pytest.approx(2 * 9 / (11 + 15))
        assert figures["voe"] == pytest.approx(1 - 9 / 21)
        assert figures["rvd"] == 0

    def test_a_case_without_target_agrees_only_with_nothing(self):
        nothing, zeros = SliceCounts(*[np.zeros(3, np.int64)] * 3).figures(), np.zeros(3, np.int64)
        assert (nothing["dice"], nothing["slice_dice"], nothing["rvd"]) == (1.0, None, 0.0)
        wrong = SliceCounts(np.array([0, 2, 0]), zeros, zeros).figures()
        assert (wrong["dice"], wrong["target_slices_dice"], wrong["rvd"]) == (0.0, None, None)
        assert summarise_figures([nothing, wrong]) == {"dice": 0.5, "voe": 0.5, "rvd": 0.0}

    def test_a_network_that_finds_the_tumor_scores_one(self):
        values = SliceValidator([in_memory(), in_memory(seed=1)], SETTINGS, [2])(Brighter(0.7))
        assert values == {"dice": 1.0, "slice_dice": 1.0, "target_slices_dice": 1.0, "voe": 0.0, "rvd": 0.0}

    def test_false_positives_in_other_slices_count_for_whole_volumes_only(self):
        case = in_memory()
        case.image[0, 20:24, 20:24] = 290  # of six slices this one holds no tumor
        figures = count_slices(Brighter(0.7), case, SETTINGS, [2]).figures()
        assert figures["slice_dice"] == figures["target_slices_dice"] == 1.0
        assert figures["dice"] == pytest.approx(2 * 160 / (160 + 160 + 16))

    def test_a_tumor_outside_of_the_crop_is_missed(self):
        case = in_memory()
        case.label[5, 38:40, 0:4] = 2
        figures = count_slices(Brighter(0.7), case, SETTINGS, [2]).figures()
        assert figures["dice"] == pytest.approx(2 * 160 / (160 + 168))

    def test_the_threshold_is_that_of_the_settings(self):
        case, probable = in_memory(), Brighter(0.0)
        probable.forward = (
            lambda image: torch.log(torch.tensor([0.55, 0.45]))[None, :, None, None].expand(  # type: ignore[method-assign]
                len(image), 2, *image.shape[2:]
            )
        )
        found = [count_slices(probable, case, replace(SETTINGS, threshold=t), [2]).pred.sum() for t in (0.4, 0.5)]
        assert found == [6 * 32 * 32, 0]

    def test_validation_without_target_is_refused(self):
        with pytest.raises(ConfigError, match="None of the 1 validation cases holds tumor"):
            SliceValidator([in_memory(tumor=False)], SETTINGS, [2])


def write_data(folder: Path, layout: str, cases: int = 6) -> Path:
    folder.mkdir()
    for number in range(cases):
        volume, label_map = make_case(slices=5, seed=number)
        if layout == "kits":
            (folder / f"case_{number:05d}").mkdir()
            write_volume(volume, folder / f"case_{number:05d}" / "imaging.nii.gz")
            write_label_map(label_map, folder / f"case_{number:05d}" / "segmentation.nii.gz")
        else:
            write_volume(volume, folder / f"volume-{number}.nii")
            write_label_map(label_map, folder / f"segmentation-{number}.nii")
    return folder


SMALL: dict[str, dict[str, Any]] = {
    "unet_plus_plus": {"widths": [2, 3, 4, 5, 6]},
    "ra_unet": {"widths": [4, 4, 4, 6, 8], "blocks": [1, 1, 1, 1]},
    "resnet18": {"widths": [4, 4, 4, 6, 8], "blocks": [1, 1, 1, 1]},
    "mobilenet_v2": {"settings": [[1, 4, 1, 1], [2, 4, 1, 2], [2, 6, 1, 2]], "stem": 4, "last": 8},
}


def small_recipe(folder: Path, name: str, **changes: Any) -> Path:
    """Write the shipped recipe with small slices and networks and one epoch."""
    data = yaml.safe_load((PROJECT / "configs" / "papers" / f"{name}.yaml").read_text(encoding="utf-8"))
    data["folder"] = str(folder / "run")
    data["data_set"] |= {"folds": 3, "validation_share": 0.25}
    data["slices"] |= {"size": [40, 40], "crop_start": [4, 6], "crop": [32, 32]}
    for network in data["networks"].values():
        network["epochs"] = 1
        network["parameters"] = {**network.get("parameters", {}), **SMALL[network["network"]]}
        network["training"] = {
            **network["training"], "batch_size": 4, "workers": 0, "log_every": 1, "tensorboard": False,
        }  # fmt: skip
    data |= changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, SliceRecipe]:
    """The finished run of the recipe hlfd-kits on miniature cases: data set, recipe file and recipe."""
    folder = tmp_path_factory.mktemp("papers")
    data, path = write_data(folder / "data", "kits"), small_recipe(folder, "hlfd-kits")
    run_slice_recipe(path, data)
    return data, path, read_slice_recipe(path)


class TestRecipes:
    @pytest.mark.parametrize("name", RECIPES)
    def test_a_shipped_recipe_goes_from_the_data_set_to_scored_networks(self, name: str, tmp_path, request):
        if name == "hlfd-kits":
            recipe = request.getfixturevalue("finished")[2]
        else:
            data = write_data(tmp_path / "data", "lits" if name == "hlfd-lits" else "kits")
            path = small_recipe(tmp_path, name)
            run_slice_recipe(path, data)
            recipe = read_slice_recipe(path)
        fold, split = recipe.folder / "fold0", json.loads((recipe.folder / "splits.json").read_text())[0]
        summary = json.loads((fold / "evaluate" / "summary.json").read_text())
        assert set(summary) == set(recipe.networks)
        for network, figures in summary.items():
            assert figures["cases"] == figures["cases_with_target"] == len(split["test"]) == 2
            assert {"dice", "slice_dice", "target_slices_dice"} <= set(figures)
            assert set(json.loads((fold / "evaluate" / f"{network}.json").read_text())) == set(split["test"])
            assert (fold / network / "best.safetensors").is_file()
        assert not set(split["test"]) & {*split["train"], *split["validation"]}

    def test_an_epoch_trains_on_every_slice_with_tumor_at_the_papers_rate(self, finished):
        _, _, recipe = finished
        split = json.loads((recipe.folder / "splits.json").read_text())[0]
        lines = [json.loads(line) for line in (recipe.folder / "fold0/student/metrics.jsonl").open()]
        rates = [line["train/lr"] for line in lines if "train/lr" in line]
        assert len(rates) == -(-2 * len(split["train"]) // 4)  # two slices per case, four per step
        assert (rates[0], rates[-1]) == pytest.approx((0.01, 1e-6))

    def test_the_distillation_of_the_recipe_was_done(self, finished):
        _, _, recipe = finished
        terms = {
            name: {
                key for line in (recipe.folder / "fold0" / name / "metrics.jsonl").open() for key in json.loads(line)
            }
            for name in recipe.networks
        }
        assert any(term.startswith("train/hlfd-released/") for term in terms["student"])
        assert any(term.startswith("train/hlfd/") for term in terms["student-corrected"])
        for name in ("teacher", "student-alone"):
            assert not any("hlfd" in term for term in terms[name])

    def test_a_finished_recipe_is_not_trained_again(self, finished):
        data, path, recipe = finished
        logs = {log: log.read_text() for log in recipe.folder.glob("fold0/*/metrics.jsonl")}
        weights = {w: w.read_bytes() for w in recipe.folder.glob("fold0/*/*.safetensors")}
        run_slice_recipe(path, data)
        assert len(logs) == 4
        assert {log: log.read_text() for log in logs} == logs
        assert {w: w.read_bytes() for w in weights} == weights

    def test_another_split_in_the_same_folder_is_refused(self, finished, tmp_path):
        data, path, _ = finished
        changed = yaml.safe_load(path.read_text()) | {"seed": 1}
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(changed))
        with pytest.raises(ConfigError, match=r"seed differ.*another folder"):
            run_slice_recipe(tmp_path / "other.yaml", data)

    def test_the_command_line_takes_a_fold_and_a_number_of_steps(self, finished, capsys):
        data, path, recipe = finished
        stages = ["prepare", "teacher", "evaluate"]
        options = ["--data", str(data), "--fold", "1", "--steps", "1", "--stages", *stages, "--json"]
        assert hlfd(["train", str(path), *options]) == 0
        assert json.loads(capsys.readouterr().out)["stages"] == stages
        assert set(json.loads((recipe.folder / "fold1" / "evaluate" / "summary.json").read_text())) == {"teacher"}

    def test_fresh_trains_again_and_keeps_the_slices(self, finished):
        data, path, recipe = finished
        kept = {file: file.stat().st_mtime_ns for file in recipe.folder.glob("prepared/*/*")}
        options = ["--data", str(data), "--fold", "2", "--steps", "1", "--stages", "teacher"]
        for more in ([], ["--fresh"]):
            assert hlfd(["train", str(path), *options, *more]) == 0
        assert len((recipe.folder / "fold2" / "teacher" / "metrics.jsonl").read_text().splitlines()) == 2
        assert {file: file.stat().st_mtime_ns for file in recipe.folder.glob("prepared/*/*")} == kept

    def test_stages_out_of_order_name_the_one_that_is_missing(self, tmp_path):
        data, path = write_data(tmp_path / "data", "kits"), small_recipe(tmp_path, "emkd-kits")
        with pytest.raises(ConfigError, match="Run the stage prepare first"):
            run_slice_recipe(path, None, stages=["distil"])
        run_slice_recipe(path, data, stages=["prepare"])
        with pytest.raises(ConfigError, match="Train teacher first"):
            run_slice_recipe(path, None, stages=["distil"])

    def test_bad_cases_are_all_named_and_the_good_ones_stay(self, tmp_path):
        data, path = write_data(tmp_path / "data", "kits"), small_recipe(tmp_path, "hlfd-kits")
        _, label_map = make_case(slices=5)
        for number in (1, 4):
            bad = LabelMap(np.zeros_like(label_map.array), label_map.affine)
            write_label_map(bad, data / f"case_{number:05d}" / "segmentation.nii.gz")
        with pytest.raises(InputError, match="2 of 6 cases cannot be used: case_00001, case_00004"):
            run_slice_recipe(path, data)
        assert len(list((tmp_path / "run" / "prepared").glob("*/case.json"))) == 4

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda d: d["slices"].update(target=["tumour"]), 'Did you mean "tumor"'),
            (lambda d: d["slices"].update(windws=[[0, 1]]), 'Did you mean "windows"'),
            (lambda d: d["networks"].pop("teacher"), "no teacher"),
            (lambda d: d["networks"].update(teacher=d["networks"]["student"]), "distilled from itself"),
            (lambda d: d["networks"]["student"].update(epoch=3), 'Did you mean "epochs"'),
            (lambda d: d["networks"]["student"].update(epochs=-1), "0 or more"),
            (lambda d: d["networks"]["student"].pop("training"), "training"),
            (lambda d: d.pop("data_set"), "data_set"),
            (lambda d: [d["networks"].pop(n) for n in list(d["networks"]) if n != "teacher"], "no student"),
        ],
    )
    def test_a_wrong_recipe_is_refused(self, change, fault: str, tmp_path):
        path = small_recipe(tmp_path, "hlfd-kits")
        data = yaml.safe_load(path.read_text())
        change(data)
        path.write_text(yaml.safe_dump(data))
        with pytest.raises(ConfigError, match=fault):
            read_slice_recipe(path)

    def test_a_crop_that_the_network_cannot_take_is_refused(self, tmp_path):
        data, path = write_data(tmp_path / "data", "kits"), small_recipe(tmp_path, "hlfd-kits")
        recipe = yaml.safe_load(path.read_text())
        recipe["slices"]["crop"] = [24, 24]
        path.write_text(yaml.safe_dump(recipe))
        with pytest.raises(ConfigError, match="multiples of 16"):
            run_slice_recipe(path, data)

    def test_the_command_line_says_what_is_missing(self, tmp_path, capsys):
        path = small_recipe(tmp_path, "hlfd-kits")
        assert hlfd(["train", str(path)]) == 2
        assert "Give its folder with --data" in capsys.readouterr().err
        with pytest.raises(UsageError, match="no fold 7"):
            run_slice_recipe(path, tmp_path, [7])


class TestAsPublished:
    @pytest.mark.parametrize("name", RECIPES)
    def test_the_recipes_say_what_the_papers_say(self, name: str):
        recipe = read_slice_recipe(PROJECT / "configs" / "papers" / f"{name}.yaml")
        slices = recipe.slices
        assert slices.windows == (((-40, 160),) if "lits" in name else ((-200, 300),))
        assert (slices.crop, slices.flips, slices.turns, slices.target) == ((384, 384), True, True, ("tumor",))
        for entry in recipe.networks.values():
            training = entry.training
            assert (training.lr, training.final_lr, training.weight_decay) == (0.01, 1e-6, 0.0)
            assert (training.warmup_steps, training.clip_norm, training.ema_decay) == (0, 0.0, 0.0)
            assert entry.distillation.segmentation == "focal_dice"
        networks = {role: (entry.network, entry.epochs) for role, entry in recipe.networks.items()}
        if name == "emkd-kits":
            assert (networks["teacher"], networks["student"]) == (("ra_unet", 30), ("mobilenet_v2", 30))
        else:
            assert (networks["teacher"], networks["student"]) == (("unet_plus_plus", 100), ("resnet18", 120))
            assert {entry.training.batch_size for entry in recipe.networks.values()} == {8}

    def test_emkd_reads_the_stages_that_its_code_reads(self, tmp_path):
        recipe = read_slice_recipe(small_recipe(tmp_path, "emkd-kits"))
        built = {
            name: build_network(recipe.networks[name].network, **recipe.networks[name].parameters)
            for name in ("teacher", "student")
        }
        objective = build_objective(recipe.networks["student"].distillation, built["student"], built["teacher"])
        assert (objective.student_taps, objective.teacher_taps) == (("e1", "e5", "out"), ("e1", "e3", "out"))
        strides = {}
        for who, tap in (("student", "e1"), ("student", "e5"), ("teacher", "e1"), ("teacher", "e3")):
            with FeatureTap(built[who].eval(), {tap: built[who].taps[tap]}) as features, torch.no_grad():
                built[who](torch.zeros(1, 1, 64, 64))
            strides[who, tap] = 64 // features[tap].shape[-1]
        assert list(strides.values()) == [2, 8, 2, 8]

    def test_epochs_become_steps_with_a_validation_after_each(self):
        entry = read_slice_recipe(PROJECT / "configs" / "papers" / "hlfd-kits.yaml").networks["teacher"]
        settings = entry.settings(slices=1000)
        assert (settings.steps, settings.validate_every, settings.checkpoint_every) == (12500, 125, 125)
        assert learning_rate(settings, 0) == 0.01
        assert learning_rate(settings, 12499) == pytest.approx(1e-6)
        assert learning_rate(settings, 6250) == pytest.approx(0.005, rel=1e-3)

    def test_without_decay_the_optimiser_is_adam(self):
        settings = TrainSettings(lr=0.01, weight_decay=0.0)
        torch.manual_seed(0)
        own, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        other.load_state_dict(own.state_dict())
        optimisers = [make_optimizer([own], settings, torch.device("cpu")), torch.optim.Adam(other.parameters(), 0.01)]
        for _ in range(5):
            x = torch.randn(4, 3)
            for network, optimiser in zip((own, other), optimisers):
                optimiser.zero_grad()
                network(x).square().sum().backward()
                optimiser.step()
        assert torch.equal(own.weight, other.weight)
        assert torch.equal(own.bias, other.bias)
