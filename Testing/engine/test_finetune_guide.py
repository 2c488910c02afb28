"""Who learns from whom while a model is fine-tuned: roles, patches that are guided, and examples that are kept."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from hlfd.distillation import DistillSettings, build_objective
from hlfd.errors import ConfigError, UsageError
from hlfd.events import Metric
from hlfd.networks import build_network
from hlfd.training.finetune_data import MixedSource, Roles, check_roles
from hlfd.training.finetune_samples import WatchedValidation
from hlfd.training.finetune_settings import FinetuneSettings, Watch

NAMES = ["a", "b", "c"]


class Constant:
    """Patches of one value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def sample(self, index: int):
        return {"image": torch.full((1, 2, 2, 2), self.value), "label": torch.zeros(2, 2, 2, dtype=torch.uint8)}


def network(seed: int):
    torch.manual_seed(seed)
    return build_network("s2d_unet", in_channels=1, classes=2, widths=(4, 8)).eval()


class TestRoles:
    def test_roles_from_outside_are_taken(self):
        roles = Roles(("a",), ("b",), ("c",))
        assert check_roles(roles, NAMES) is roles

    @pytest.mark.parametrize(
        ("roles", "said"),
        [
            (Roles(("a",), ("z",), ("c",)), "no labelled case z"),
            (Roles((), ("b",), ("c",)), "one case to learn from"),
            (Roles(("a",), ("b",), ("a",)), "a would be learnt from and scored"),
        ],
    )
    def test_roles_that_make_no_sense_are_refused(self, roles, said):
        with pytest.raises(UsageError, match=said):
            check_roles(roles, NAMES)


class TestGuidance:
    def test_only_marked_patches_are_guided(self):
        objective = build_objective(DistillSettings(methods=("kd",)), network(1), network(2))
        generator = torch.Generator().manual_seed(3)
        image = torch.randn(2, 1, 16, 16, 16, generator=generator)
        batch = {"image": image, "label": torch.randint(0, 2, (2, 16, 16, 16), generator=generator)}
        student = network(1)
        first = {name: tensor[:1] for name, tensor in batch.items()}
        _, alone = objective(student, first)
        _, marked = objective(student, {**batch, "guided": torch.tensor([True, False])})
        _, whole = objective(student, batch)
        assert marked["kd/kd"].item() == pytest.approx(alone["kd/kd"].item(), rel=1e-5)
        assert marked["segmentation"].item() == pytest.approx(whole["segmentation"].item(), rel=1e-5)
        _, none = objective(student, {**batch, "guided": torch.tensor([False, False])})
        assert set(none) == {"segmentation"}

    def test_the_student_as_it_was_guides_what_is_replayed(self):
        source = MixedSource(Constant(0.0), Constant(1.0), 0.3, seed=2, guide_replayed=True)
        samples = [source.sample(index) for index in range(40)]
        assert {(sample["image"].mean().item(), sample["guided"].item()) for sample in samples} == {
            (0, False),
            (1, True),
        }

    def test_without_replay_all_patches_are_guided(self):
        assert "guided" not in MixedSource(Constant(0.0), None, 0.0, seed=2, guide_replayed=True).sample(0)

    def test_methods_are_joined_by_plus(self):
        assert FinetuneSettings(method="hlfd + kd").methods == ("hlfd", "kd")
        assert not FinetuneSettings(method="none").guided
        with pytest.raises(ConfigError, match="hlfd"):
            FinetuneSettings(method="hlfd+kdd")


def test_an_example_shows_the_slice_with_most_lesion_as_an_axial_view_does(tmp_path):
    label = torch.zeros(16, 16, 16, dtype=torch.uint8)
    label[1, 2:12, 2:12] = 1
    label[2, 3:6, 4:9] = 2
    image = torch.zeros(1, 16, 16, 16)
    image[0, 2, 0, 0] = 1.0  # posterior, left: bottom right of the picture
    heard, kept = [], []
    watch = Watch(samples=tmp_path, on_sample=lambda step, path: kept.append((step, path)))
    names = ("background", "kidney", "tumor")
    validation = WatchedValidation(
        lambda net: {"dice": 0.5}, [{"image": image, "label": label}], names, (-200.0, 300.0), watch, heard.append
    )
    student = build_network("s2d_unet", in_channels=1, classes=3, widths=(4, 8)).eval()
    assert validation(student) == {"dice": 0.5}
    validation.on_event(Metric(7, {"train/loss": 1.0}))
    assert kept == []
    validation.on_event(Metric(7, {"validation/dice": 0.5}))
    assert kept == [(7, tmp_path / "step-000007.npz")]
    assert len(heard) == 2
    with np.load(kept[0][1], allow_pickle=False) as data:
        assert data["image"].shape == (16, 16)
        assert (data["image"][-1, -1], data["image"][0, 0]) == (300, 50)
        assert np.array_equal(data["label"][::-1, ::-1], label[2].numpy())
        assert data["prediction"].dtype == np.uint8
