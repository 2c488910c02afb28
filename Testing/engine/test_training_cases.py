"""Real cases as training patches: working grid, cache, positions, augmentation, and validation on them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hlfd.data.layouts import Case
from hlfd.errors import CancelledError, ConfigError, EmptyInputError, GeometryError, InputError
from hlfd.events import CancelToken, Progress
from hlfd.io import write_label_map, write_volume
from hlfd.labels import KIDNEY_LABELS
from hlfd.networks import build_network
from hlfd.training import Supervised, TrainSettings, fit
from hlfd.training.case_source import CasePatches, CaseSource, cut, whole_case
from hlfd.training.cases import CachedCase, cache_case, cache_cases, open_case, to_working_grid
from hlfd.training.validation import PatchValidator
from hlfd.volume import LabelMap, Volume

SHAPE = (20, 24, 28)
PLAIN = CasePatches(
    size=(8, 8, 8), windows=((-1000.0, 1000.0),), foreground_share=1.0, flip_share=0.0, rotation_deg=0.0,
    scale=(1.0, 1.0), gain=0.0, shift_hu=0.0, noise_hu=0.0,
)  # fmt: skip


def make_case(spacing: float = 1.5, values=(1, 2)) -> tuple[Volume, LabelMap]:
    """HU rise by 3, 5 and 7 per voxel along z, y, x; one box per label value."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    label = np.zeros(SHAPE, np.uint8)
    for n, value in enumerate(values):
        label[4 + 6 * n : 8 + 6 * n, 6:12, 10:16] = value
    affine = np.diag([spacing, spacing, spacing, 1.0])
    volume = Volume((3 * z + 5 * y + 7 * x - 200).astype(np.int16), affine, "case")
    return volume, LabelMap(label, affine, KIDNEY_LABELS)


def in_memory(values=(1, 2)) -> CachedCase:
    volume, label_map = make_case(values=values)
    points = {value: np.argwhere(label_map.array == value) for value in values}
    return CachedCase("case", volume.array, label_map.array, points)


def write_case(folder: Path, name: str = "a") -> Case:
    volume, label_map = make_case()
    case = Case(name, folder / f"{name}.nrrd", folder / f"{name}-label.nrrd")
    write_volume(volume, case.image)
    write_label_map(label_map, case.label)
    return case


class TestWorkingGrid:
    def test_a_case_at_the_working_spacing_is_kept_as_it_is(self):
        volume, label_map = make_case()
        image, label = to_working_grid(volume, label_map, 1.5)
        assert np.array_equal(image, volume.array)
        assert np.array_equal(label, label_map.array)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_the_order_of_axes_in_the_file_makes_no_difference(self, axis: int):
        volume, label_map = make_case()
        affine = volume.affine.copy()
        column = 2 - axis
        affine[:3, 3] += affine[:3, column] * (SHAPE[axis] - 1)
        affine[:3, column] *= -1
        flipped = Volume(np.flip(volume.array, axis).copy(), affine, "case")
        image, label = to_working_grid(flipped, LabelMap(np.flip(label_map.array, axis).copy(), affine), 1.5)
        assert np.array_equal(image, volume.array)
        assert np.array_equal(label, label_map.array)

    def test_a_coarser_grid_keeps_the_place_and_the_volume_of_a_label(self):
        volume, label_map = make_case(spacing=1.0)
        _, label = to_working_grid(volume, label_map, 2.0)
        assert label.shape == (10, 12, 14)
        assert np.count_nonzero(label == 1) * 8 == pytest.approx(np.count_nonzero(label_map.array == 1), rel=0.3)
        assert np.argwhere(label == 1).mean(0) == pytest.approx([2.5, 4.0, 6.0], abs=0.6)

    def test_image_and_labels_of_an_oblique_case_turn_together(self):
        volume, label_map = make_case()
        turn = np.eye(4)
        angle = np.radians(20)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        array = np.where(label_map.array == 1, 1000, 0).astype(np.int16)
        oblique = Volume(array, turn @ volume.affine, "case")
        image, label = to_working_grid(oblique, LabelMap(label_map.array, turn @ volume.affine), 1.5)
        assert np.mean((image > 500) == (label == 1)) > 0.99
        assert np.count_nonzero(label == 1) == pytest.approx(np.count_nonzero(array), rel=0.15)

    def test_a_label_map_on_another_grid_is_refused(self):
        volume, label_map = make_case()
        with pytest.raises(GeometryError, match="do not lie on one grid"):
            to_working_grid(volume, LabelMap(label_map.array[1:], label_map.affine), 1.5)
        moved = label_map.affine.copy()
        moved[0, 3] = 4.0
        with pytest.raises(GeometryError, match="do not lie on one grid"):
            to_working_grid(volume, LabelMap(label_map.array, moved), 1.5)


class TestCache:
    def test_a_cached_case_opens_with_the_same_arrays_and_points_on_its_labels(self, tmp_path):
        volume, label_map = make_case()
        cache_case(volume, label_map, tmp_path, "a", 1.5)
        case = open_case(tmp_path / "a")
        assert np.array_equal(case.image, volume.array)
        assert sorted(case.points) == [1, 2]
        for value, points in case.points.items():
            assert {int(label_map.array[tuple(point)]) for point in points} == {value}

    def test_files_are_read_once_until_they_change(self, tmp_path):
        case = write_case(tmp_path)
        folder = tmp_path / "cache"
        events: list = []
        cache_cases([case], folder, 1.5, events.append)
        assert events[-1].done == 1
        written = (folder / "a" / "image.npy").stat().st_mtime_ns
        cache_cases([case], folder, 1.5)
        assert (folder / "a" / "image.npy").stat().st_mtime_ns == written
        os.utime(case.image, ns=(1, 1))
        cache_cases([case], folder, 1.5)
        assert (folder / "a" / "image.npy").stat().st_mtime_ns > written

    def test_another_spacing_is_another_cache(self, tmp_path):
        case = write_case(tmp_path)
        assert cache_cases([case], tmp_path / "cache", 1.5)[0].image.shape == SHAPE
        assert cache_cases([case], tmp_path / "cache", 3.0)[0].image.shape == (10, 12, 14)

    def test_a_case_without_labels_is_refused(self, tmp_path):
        with pytest.raises(EmptyInputError, match='"a" has no label map'):
            cache_cases([Case("a", tmp_path / "a.nrrd", None)], tmp_path / "cache", 1.5)

    def test_caching_can_be_cancelled_between_cases(self, tmp_path):
        token = CancelToken()
        cases = [write_case(tmp_path, name) for name in "ab"]
        with pytest.raises(CancelledError):
            cache_cases(cases, tmp_path / "cache", 1.5, lambda e: isinstance(e, Progress) and token.cancel(), token)
        assert (tmp_path / "cache" / "a" / "case.json").is_file()


class TestCut:
    def test_without_change_it_is_the_sub_block(self):
        case = in_memory()
        hu, label = cut(case, np.array([8.5, 10.5, 12.5]), np.eye(3), (4, 6, 8))
        assert np.allclose(hu, case.image[7:11, 8:14, 9:17], atol=1e-2)
        assert np.array_equal(label, case.label[7:11, 8:14, 9:17])

    def test_a_turned_and_scaled_patch_reads_the_linear_field_at_its_places(self):
        case = in_memory()
        rng = np.random.default_rng(0)
        matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 0.8
        center, size = np.array([9.5, 11.0, 13.2]), (5, 6, 7)
        hu, _ = cut(case, center, matrix, size)
        index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
        places = center + (index - (np.array(size) - 1) / 2) @ matrix.T
        assert np.allclose(hu, places @ [3, 5, 7] - 200, atol=0.05)

    def test_outside_there_is_air_without_labels(self):
        hu, label = cut(in_memory(), np.array([-50.0, 0.0, 0.0]), np.eye(3), (4, 4, 4))
        assert (hu == -1024).all()
        assert not label.any()


class TestCaseSource:
    def test_a_sample_depends_on_seed_and_index_only(self):
        patches = replace(PLAIN, noise_hu=20.0, rotation_deg=10.0, flip_share=0.5, scale=(0.8, 1.2))
        first, second = (CaseSource([in_memory()], patches, seed=3) for _ in range(2))
        second.sample(7)
        assert torch.equal(first.sample(5)["image"], second.sample(5)["image"])
        assert not torch.equal(first.sample(5)["image"], first.sample(6)["image"])
        assert not torch.equal(first.sample(5)["image"], CaseSource([in_memory()], patches, seed=4).sample(5)["image"])

    def test_shapes_and_range_are_those_of_the_contract(self):
        sample = CaseSource([in_memory()], CasePatches(size=(8, 10, 12))).sample(0)
        assert sample["image"].shape == (2, 8, 10, 12)
        assert sample["image"].dtype == torch.float32
        assert sample["image"].abs().max() <= 1
        assert sample["label"].shape == (8, 10, 12)

    def test_image_and_label_stay_together_under_augmentation(self):
        case = in_memory()
        image = np.where(case.label == 1, 1000, -1000).astype(np.int16)
        patches = replace(PLAIN, size=(16, 16, 16), rotation_deg=20.0, flip_share=0.5, scale=(0.8, 1.2))
        source = CaseSource([replace(case, image=image)], patches)
        for index in range(5):
            sample = source.sample(index)
            assert ((sample["image"][0] > 0) == (sample["label"] == 1)).float().mean() > 0.98

    def test_labels_are_drawn_evenly_however_small(self):
        case = in_memory()
        case = replace(case, points={1: case.points[1], 2: case.points[2][:1]})
        source = CaseSource([case], replace(PLAIN, size=(2, 2, 2)))
        seen = [int(source.sample(i)["label"].max()) for i in range(60)]
        assert seen.count(2) > 15

    def test_values_are_mapped_to_classes_and_unknown_ones_refused(self):
        source = CaseSource([in_memory((1, 4))], PLAIN, class_of={1: 1, 4: 1})
        assert set(np.unique(source.sample(0)["label"])) <= {0, 1}
        with pytest.raises(InputError, match=r"label values \[4\]; known are \[1\]"):
            CaseSource([in_memory((1, 4))], PLAIN, class_of={1: 1})

    def test_cases_without_any_label_are_refused(self):
        with pytest.raises(EmptyInputError, match="no labelled voxels"):
            CaseSource([replace(in_memory(), points={})], PLAIN)

    @pytest.mark.parametrize(
        "values", [{"size": (8, 8)}, {"windows": ((300, -200),)}, {"flip_share": 1.5}, {"scale": (0, 1)}, {"gain": -1}]
    )
    def test_settings_out_of_range_are_refused(self, values):
        with pytest.raises(ConfigError, match=r"expected|must"):
            replace(PLAIN, **values)


class TestValidation:
    def test_a_whole_case_is_padded_with_air(self):
        sample = whole_case(in_memory(), PLAIN.windows, 16)
        assert sample["image"].shape == (1, 32, 32, 32)
        assert (sample["image"][0, 20:] == -1).all()
        assert not sample["label"][20:].any()

    def test_dice_is_that_of_the_counts_over_all_samples(self):
        class Threshold(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(1))

            def forward(self, image):
                return torch.cat([-image, image], 1) * self.scale

        image = torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(1, 1, 1, 4)
        truths = ([1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0])
        samples = [{"image": image, "label": torch.tensor(truth).reshape(1, 1, 4)} for truth in truths]
        # Found 9 voxels, true 4, common 3.
        assert PatchValidator(samples, ["background", "x"])(Threshold())["dice_x"] == pytest.approx(2 * 3 / 13)

    def test_classes_are_merged_like_the_logits(self):
        class Fixed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.bias = torch.nn.Parameter(torch.tensor([1.0, 0.9, 0.9, 0.0]))

            def forward(self, image):
                return self.bias.reshape(1, 4, 1, 1, 1).expand(1, 4, *image.shape[2:])

        sample = {"image": torch.zeros(1, 2, 2, 2), "label": torch.full((2, 2, 2), 2)}
        # Channel 0 is the largest, but 1 and 2 together are more probable.
        values = PatchValidator([sample], ["background", "lesion", "other"], [[0], [1, 2], [3]])(Fixed())
        assert values == {"dice": 1.0, "dice_lesion": 1.0, "dice_other": 1.0}


def test_a_network_trains_on_files_in_a_folder(tmp_path):
    cases = cache_cases([write_case(tmp_path, name) for name in "ab"], tmp_path / "cache", 1.5)
    patches = replace(PLAIN, noise_hu=10.0, flip_share=0.5)
    class_of = {1: 1, 2: 1}
    network = build_network("s2d_unet", classes=2, widths=(4, 8))
    settings = TrainSettings(steps=6, warmup_steps=2, device="cpu", precision="float32", tensorboard=False, workers=1)
    validator = PatchValidator(
        [whole_case(cases[0], patches.windows, network.divisor, class_of)], ["background", "mass"]
    )
    result = fit(
        network, Supervised(), CaseSource(cases, patches, class_of), settings, tmp_path / "run", validate=validator
    )
    assert result.step == 6
    assert 0 <= result.metrics["dice_mass"] <= 1
