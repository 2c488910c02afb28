"""Small lesions weigh more in the loss, by their volume and only where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from hlfd.errors import ConfigError
from hlfd.losses import dice_ce_loss, focal_dice_loss
from hlfd.networks import build_network
from hlfd.training import Supervised
from hlfd.training.lesion_weights import LesionWeighted, SmallLesions
from hlfd.training.source import batches

VOXEL_ML = 0.001
SETTINGS = SmallLesions(("tumor",), below_ml=0.256, most=5.0, margin_voxels=1)


class Boxes:
    """A tumor of 4^3 voxels, one of 8^3, one of a single voxel, and one of 4^3 at the border; a cyst of class 2."""

    def sample(self, index: int) -> dict[str, torch.Tensor]:
        label = np.zeros((32, 32, 32), np.int64)
        label[4:8, 4:8, 4:8] = 1
        label[14:22, 14:22, 14:22] = 1
        label[28, 10, 10] = 1
        label[0:4, 20:24, 26:30] = 1
        label[26:28, 26:28, 26:28] = 2
        image = torch.randn(1, 32, 32, 32, generator=torch.Generator().manual_seed(index))
        return {"image": image, "label": torch.from_numpy(label)}


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return LesionWeighted(Boxes(), SETTINGS, [1], VOXEL_ML).sample(0)["weight"].numpy()


class TestWeights:
    def test_make_a_lesion_count_as_much_as_a_larger_one(self, weights):
        assert weights[5, 5, 5] == pytest.approx(256 / 64)

    def test_are_limited(self, weights):
        assert weights[28, 10, 10] == 5.0

    def test_are_one_for_a_large_lesion_for_other_classes_and_elsewhere(self, weights):
        assert weights[18, 18, 18] == weights[26, 26, 26] == weights[12, 2, 2] == 1

    def test_are_one_where_the_border_hides_the_volume(self, weights):
        assert weights[2, 22, 28] == 1

    def test_hold_in_the_margin_and_no_farther(self, weights):
        assert weights[3, 5, 5] == weights[5, 5, 5]
        assert weights[2, 5, 5] == 1

    def test_leave_the_sample_as_it_is(self):
        sample = LesionWeighted(Boxes(), SETTINGS, [1], VOXEL_ML).sample(0)
        assert torch.equal(sample["label"], Boxes().sample(0)["label"])
        assert set(sample) == {"image", "label", "weight"}


class TestLosses:
    logits = torch.randn(2, 3, 6, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 3, (2, 6, 6, 6), generator=torch.Generator().manual_seed(2))
    weights = 1 + torch.rand(2, 6, 6, 6, generator=torch.Generator().manual_seed(3))

    def test_cross_entropy_is_the_weighted_mean(self):
        dice = dice_ce_loss(self.logits, self.labels) - functional.cross_entropy(self.logits, self.labels)
        voxels = functional.cross_entropy(self.logits, self.labels, reduction="none")
        expected = dice + (self.weights * voxels).sum() / self.weights.sum()
        assert dice_ce_loss(self.logits, self.labels, voxel_weights=self.weights) == pytest.approx(float(expected))

    def test_class_weights_and_voxel_weights_multiply(self):
        ones = torch.ones_like(self.weights)
        doubled = 1.0 + (self.labels == 1)
        by_class = dice_ce_loss(self.logits, self.labels, class_weights=(1.0, 2.0, 1.0))
        dice_part = by_class - dice_ce_loss(self.logits, self.labels, (1.0, 2.0, 1.0), voxel_weights=ones)
        assert float(dice_part) == pytest.approx(0, abs=1e-6)
        by_voxel = dice_ce_loss(self.logits, self.labels, voxel_weights=doubled)
        voxels = functional.cross_entropy(self.logits, self.labels, weight=torch.tensor([1.0, 2.0, 1.0]))
        plain_dice = dice_ce_loss(self.logits, self.labels) - functional.cross_entropy(self.logits, self.labels)
        assert float(by_voxel) == pytest.approx(float(voxels + plain_dice), abs=1e-5)

    def test_weights_of_one_change_nothing(self):
        for loss in (dice_ce_loss, focal_dice_loss):
            ones = torch.ones_like(self.weights)
            assert float(loss(self.logits, self.labels, voxel_weights=ones)) == pytest.approx(
                float(loss(self.logits, self.labels)), abs=1e-6
            )

    def test_the_objective_hands_the_weights_of_a_batch_on(self):
        network = build_network("s2d_unet", classes=3, widths=(4, 8))
        batch = next(batches(LesionWeighted(Boxes(), SETTINGS, [1], VOXEL_ML), [[0, 1]]))
        with torch.no_grad():
            logits, terms = Supervised()(network, batch)
        expected = dice_ce_loss(logits, batch["label"], voxel_weights=batch["weight"])
        assert float(terms["segmentation"]) == pytest.approx(float(expected))
        assert float(expected) != pytest.approx(float(dice_ce_loss(logits, batch["label"])))


@pytest.mark.parametrize("wrong", [{"classes": ()}, {"below_ml": 0.0}, {"most": 0.5}, {"margin_voxels": -1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="small_lesions"):
        SmallLesions(**{"classes": ("tumor",), **wrong})
