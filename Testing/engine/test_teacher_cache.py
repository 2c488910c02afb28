"""Cached teacher outputs: the teacher's own within the quantisation, at the right place, and never stale."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from hlfd.distillation import DistillSettings, build_objective
from hlfd.distillation.teacher import OnlineTeacher, tap_paths
from hlfd.errors import ConfigError, DiskFullError, EmptyInputError, InputError, ModelError
from hlfd.events import CancelToken, Warn
from hlfd.labels import KIDNEY_LABELS
from hlfd.networks import build_network
from hlfd.preprocess.intensity import window_channels
from hlfd.training import TrainSettings, fit
from hlfd.training.case_source import CasePatches
from hlfd.training.cases import CachedCase, cache_case
from hlfd.training.teacher_cache import CacheSettings, TeacherCache, open_teacher, quantise
from hlfd.training.teacher_cache_source import TeacherCacheSource
from hlfd.training.teacher_regions import Region, cut_region, organ_regions
from hlfd.volume import LabelMap, Volume

WINDOWS = ((-200.0, 300.0), (-1000.0, 1000.0))
PATCH = CasePatches(
    size=(16, 16, 16), windows=WINDOWS, rotation_deg=0.0, scale=(1.0, 1.0), gain=0.0, shift_hu=0.0, noise_hu=0.0
)
TAPS = ("out", "e2", "e3", "d2")


def make_case(folder: Path, name: str = "a", seed: int = 0) -> CachedCase:
    rng = np.random.default_rng(seed)
    label = np.zeros((24, 28, 60), np.uint8)
    label[6:14, 8:18, 4:12] = 1
    label[8:12, 10:14, 6:10] = 2
    label[6:14, 8:18, 46:56] = 1
    hu = rng.integers(-150, 250, label.shape).astype(np.int16)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    return cache_case(Volume(hu, affine), LabelMap(label, affine, KIDNEY_LABELS), folder, name, 1.5)


@pytest.fixture
def case(tmp_path) -> CachedCase:
    return make_case(tmp_path / "cases")


def make_teacher(classes: int = 3):
    torch.manual_seed(1)
    return build_network("dynunet", in_channels=2, classes=classes, widths=(4, 8, 8)).eval()


def make_cache(folder: Path, teacher=None, taps=TAPS, **settings) -> TeacherCache:
    teacher = teacher or make_teacher()
    online = OnlineTeacher(teacher, tap_paths(teacher, "teacher"))
    values = {"margin_mm": 4.5, "device": "cpu", **settings}
    identity = "one teacher"
    return TeacherCache(folder, online, identity, taps, WINDOWS, 4, PATCH.size, 1.5, CacheSettings(**values))


class Pooling(nn.Sequential):
    """A teacher whose answer to a part is the part of its answer: means of 2^3 voxels, and the image itself."""

    def __init__(self) -> None:
        super().__init__(OrderedDict(same=nn.Identity(), pool=nn.AvgPool3d(2), up=nn.Upsample(scale_factor=2)))
        self.taps = {"e1": "same", "e2": "pool", "out": "up"}


class TestRegions:
    def test_each_kidney_has_its_own_region_with_its_margin(self, case):
        regions = organ_regions(case.label, 3, (8, 8, 8), 4, 10**6)
        assert [(region.low[2], region.shape[2]) for region in regions] == [(0, 16), (43, 16)]
        assert all(n % 4 == 0 for region in regions for n in region.shape)

    def test_regions_that_touch_are_joined(self, case):
        (region,) = organ_regions(case.label, 20, (8, 8, 8), 4, 10**6)
        assert region.shape == (24, 28, 60)

    def test_a_region_holds_a_patch_even_beyond_the_scan(self, case):
        regions = organ_regions(case.label, 3, (32, 16, 16), 4, 10**6)
        assert [region.shape[0] for region in regions] == [32, 32]
        block = cut_region(case.image, regions[0])
        assert block.shape == regions[0].shape
        assert (block[0] == -1024).all()

    def test_a_large_region_is_split_so_that_every_patch_lies_in_a_piece(self, case):
        whole = organ_regions(case.label, 20, (16, 16, 16), 4, 10**6)[0]
        pieces = organ_regions(case.label, 20, (16, 16, 16), 4, 24 * 28 * 40)
        assert len(pieces) == 2
        starts = range(whole.low[2], whole.low[2] + whole.shape[2] - 16 + 1)
        assert all(any(p.low[2] <= s and s + 16 <= p.low[2] + p.shape[2] for p in pieces) for s in starts)

    def test_an_empty_label_map_is_refused(self):
        with pytest.raises(EmptyInputError, match="label map is empty"):
            organ_regions(np.zeros((8, 8, 8), np.uint8), 2, (8, 8, 8), 4, 1000)

    def test_a_tap_without_whole_strides_is_refused(self):
        with pytest.raises(ConfigError, match="whole strides"):
            Region((0, 0, 0), (16, 16, 16)).strides((5, 8, 8), "e2")


class TestCache:
    @pytest.mark.parametrize("dtype", ["uint8", "float16"])
    def test_cached_outputs_are_those_of_the_teacher_within_the_quantisation(self, case, tmp_path, dtype):
        cache = make_cache(tmp_path / "teacher", dtype=dtype)
        (cached,) = cache.fill([case])
        assert len(cached.regions) == 2
        for region in cached.regions:
            hu = cut_region(case.image, region.region).astype(np.float32)
            online = cache.teacher.outputs(torch.from_numpy(window_channels(hu, WINDOWS)), TAPS)
            for name, tap in region.taps.items():
                expected = online[name][0].numpy()
                found = tap.read((0, 0, 0), region.region.shape)
                span = np.ptp(expected.reshape(len(expected), -1), axis=1)
                largest = np.abs(expected).reshape(len(expected), -1).max(1)
                tolerance = span / 510 if dtype == "uint8" else largest * 2**-11
                error = np.abs(found - expected).reshape(len(expected), -1).max(1)
                assert (error <= tolerance * 1.01 + 1e-6).all(), name

    def test_the_loss_of_a_method_is_the_same_with_cached_and_online_outputs(self, case, tmp_path):
        teacher = make_teacher()
        student = build_network("s2d_unet", in_channels=2, classes=3, widths=(4, 8))
        settings = DistillSettings(methods=("kd", "hlfd"))
        objective = build_objective(settings, student, teacher)
        region = make_cache(tmp_path / "t", teacher, objective.teacher_taps).fill([case])[0].regions[0]
        hu = cut_region(case.image, region.region).astype(np.float32)
        label = torch.from_numpy(cut_region(case.label, region.region, 0).astype(np.int64))[None]
        batch = {"image": torch.from_numpy(window_channels(hu, WINDOWS)), "label": label}
        taps = {f"teacher/{n}": torch.from_numpy(t.read((0, 0, 0), hu.shape))[None] for n, t in region.taps.items()}
        _, online = objective(student, batch)
        _, cached = objective(student, {**batch, **taps})
        assert online.keys() == cached.keys()
        for name, term in online.items():
            assert cached[name].item() == pytest.approx(term.item(), rel=0.01, abs=1e-4), name

    def test_a_constant_channel_is_kept_exactly(self):
        stored, low, step = quantise(torch.full((2, 4, 4, 4), 3.5), "uint8")
        assert (stored * step[:, None, None, None] + low[:, None, None, None] == 3.5).all()

    def test_what_is_there_is_not_computed_again(self, case, tmp_path):
        cache = make_cache(tmp_path / "teacher")
        cache.fill([case])
        stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "teacher").rglob("*")}
        cache.fill([case])
        assert {path: path.stat().st_mtime_ns for path in stamps} == stamps

    @pytest.mark.parametrize("change", [{"identity": "another"}, {"taps": ("out",)}, {"spacing_mm": 2.0}])
    def test_outputs_of_another_teacher_or_other_taps_are_made_anew(self, case, tmp_path, change):
        cache = make_cache(tmp_path / "teacher")
        cache.fill([case])
        before = (tmp_path / "teacher" / "a" / "teacher.json").stat().st_mtime_ns
        replace(cache, **change).fill([case])
        assert (tmp_path / "teacher" / "a" / "teacher.json").stat().st_mtime_ns > before

    def test_a_damaged_file_is_noticed_and_made_again(self, case, tmp_path):
        cache = make_cache(tmp_path / "teacher")
        cache.fill([case])
        path = next((tmp_path / "teacher" / "a").glob("*-e2.npy"))
        good = path.read_bytes()
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ModelError, match="missing or damaged"):
            open_teacher(path.parent)
        events: list = []
        cache.fill([case], events.append)
        assert path.read_bytes() == good
        assert any(isinstance(event, Warn) and "made again" in event.message for event in events)

    def test_a_broken_run_goes_on_with_the_next_case(self, tmp_path):
        cases = [make_case(tmp_path / "cases", name, n) for n, name in enumerate("ab")]
        cache, cancel = make_cache(tmp_path / "teacher"), CancelToken()
        with pytest.raises(Exception, match="Cancelled"):
            cache.fill(cases, lambda event: cancel.cancel(), cancel)
        done = json.loads((tmp_path / "teacher" / "a" / "teacher.json").read_text())
        assert [teacher.name for teacher in cache.fill(cases)] == ["a", "b"]
        assert json.loads((tmp_path / "teacher" / "a" / "teacher.json").read_text()) == done

    def test_a_full_disk_is_said_and_leaves_the_finished_cases(self, tmp_path, monkeypatch):
        cases = [make_case(tmp_path / "cases", name, n) for n, name in enumerate("ab")]
        cache = make_cache(tmp_path / "teacher")
        cache.fill(cases[:1])
        full = Path("/dev/full")
        if not full.exists():
            pytest.skip("this system has no /dev/full")
        (tmp_path / "teacher" / "b").mkdir()
        temporary = tmp_path / "teacher" / "b" / f".0-out.npy.{os.getpid()}.tmp"
        temporary.symlink_to(full)
        with pytest.raises(DiskFullError, match="No space is left"):
            cache.fill(cases)
        assert open_teacher(tmp_path / "teacher" / "a").regions
        assert [teacher.name for teacher in cache.fill(cases)] == ["a", "b"]


class TestSource:
    def source(self, case, tmp_path, **changes) -> TeacherCacheSource:
        cache = make_cache(tmp_path / "pooled", Pooling(), ("out", "e1", "e2"), dtype="float16")
        return TeacherCacheSource([case], cache.fill([case]), replace(PATCH, **changes), seed=3)

    @pytest.mark.parametrize("flip_share", [0.0, 1.0])
    def test_image_and_outputs_of_a_patch_are_of_the_same_place(self, case, tmp_path, flip_share):
        source = self.source(case, tmp_path, flip_share=flip_share)
        for index in range(12):
            sample = source.sample(index)
            pooled = nn.functional.avg_pool3d(sample["image"], 2)
            assert torch.allclose(sample["teacher/e1"], sample["image"], atol=1e-3)
            assert torch.allclose(sample["teacher/e2"], pooled, atol=1e-3)

    def test_patches_are_a_pure_function_of_seed_and_index(self, case, tmp_path):
        first, again = self.source(case, tmp_path), self.source(case, tmp_path)
        assert all((first.sample(4)[key] == again.sample(4)[key]).all() for key in first.sample(4))
        assert any((first.sample(4)["image"] != first.sample(n)["image"]).any() for n in range(5, 9))

    def test_patches_show_the_labelled_organ(self, case, tmp_path):
        source = self.source(case, tmp_path, foreground_share=1.0)
        assert sum(bool(source.sample(index)["label"].any()) for index in range(20)) >= 18

    @pytest.mark.parametrize(
        "change", [{"rotation_deg": 5.0}, {"scale": (0.9, 1.1)}, {"gain": 0.1}, {"shift_hu": 5.0}, {"noise_hu": 5.0}]
    )
    def test_augmentation_that_the_teacher_did_not_see_is_refused(self, case, tmp_path, change):
        with pytest.raises(ConfigError, match=next(iter(change))):
            self.source(case, tmp_path, **change)

    def test_a_patch_that_cuts_through_a_feature_voxel_is_refused(self, case, tmp_path):
        with pytest.raises(ConfigError, match="not a multiple of the teacher's strides"):
            self.source(case, tmp_path, size=(16, 15, 16))

    def test_outputs_of_other_cases_are_refused(self, case, tmp_path):
        cache = make_cache(tmp_path / "pooled", Pooling(), ("out",))
        other = make_case(tmp_path / "cases", "b")
        with pytest.raises(InputError, match="not of the same cases"):
            TeacherCacheSource([other], cache.fill([case]), PATCH)

    def test_a_student_learns_from_cached_outputs_alone(self, case, tmp_path):
        student = build_network("s2d_unet", in_channels=2, classes=3, widths=(4, 8))
        settings = DistillSettings(methods=("hlfd",))
        taps = build_objective(settings, student, make_teacher()).teacher_taps
        source = TeacherCacheSource([case], make_cache(tmp_path / "t", taps=taps).fill([case]), PATCH)
        objective = build_objective(settings, student, source.spec)
        assert objective.teacher is None
        training = TrainSettings(steps=2, batch_size=2, validate_every=0, tensorboard=False, device="cpu")
        assert fit(student, objective, source, training, tmp_path / "run").step == 2


def test_the_benchmark_prints_both_ratios(capsys):
    from hlfd.cli.main import run

    arguments = ["--teacher", "s2d_unet_wide", "--patch", "32", "--repeats", "1", "--methods", "kd"]
    assert run(["bench", "distillation", *arguments, "--threads", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["cached_speedup"] == pytest.approx(
        result["seconds"]["step_online"] / result["seconds"]["step_cached"]
    )
    assert result["overhead"] > 0
    assert set(result["seconds"]) == {"step_student", "teacher_forward", "step_online", "step_cached"}
