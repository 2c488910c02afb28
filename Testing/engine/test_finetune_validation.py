"""Structures that are too small to tell do not decide when a fine-tuning stops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from hlfd.training.cases import CachedCase
from hlfd.training.finetune_validation import DecidingValidation, PatchDice, choose_deciders, class_volumes_ml

NAMES = ("background", "kidney", "tumor", "cyst")
CLASS_OF = {1: 1, 2: 2, 3: 3, 4: 1}
LARGE, SMALL = (6, 6, 6), (2, 2, 2)  # 1.7 and 0.06 ml of voxels of 2 mm
ENTRY = SimpleNamespace(spacing_mm=2.0, divisor=8, windows=[(-100.0, 100.0)], classes=NAMES)


def case(tumor=None, cyst=None, shift: int = 0) -> CachedCase:
    """A kidney of 16^3 voxels with lesions in it; the image shows the classes as -100, -50, 0 and 50 HU."""
    label = np.zeros((32, 32, 32), np.uint8)
    label[8:24, 8:24, 8:24] = 4
    for value, size, start in ((2, tumor, 9), (3, cyst, 16)):
        if size is not None:
            label[tuple(slice(start, start + n) for n in size)] = value
    classes = np.array([0, 1, 2, 3, 1])[label]
    image = (50 * classes - 100 + shift).astype(np.int16)
    points = {int(value): np.argwhere(label == value) for value in np.unique(label) if value}
    return CachedCase("a case", image, label, points)


class Sees(nn.Module):
    """Reads the classes off the image, except those it is blind to, and calls one voxel of each region a cyst."""

    def __init__(self, blind_to: str = "", invents: str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.blind_to, self.invents = blind_to, invents

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = ((image[:, 0] + 1) * 2).round().long().clamp(0, 3)
        if self.blind_to:
            seen[seen == NAMES.index(self.blind_to)] = 1
        if self.invents:
            seen[:, 0, 0, 0] = NAMES.index(self.invents)
        return nn.functional.one_hot(seen, 4).movedim(-1, 1).float()


def validated(cases, **network) -> dict[str, float]:
    return DecidingValidation(cases, ENTRY, CLASS_OF)(Sees(**network))


class TestTheChoice:
    def test_what_has_a_millilitre_in_a_case_decides(self):
        chosen = choose_deciders(np.array([[900, 150, 4, 0.3], [900, 140, 0, 0.9]]))
        assert chosen.classes.tolist() == [False, True, True, False]

    def test_a_case_with_little_of_a_class_does_not_count_for_it_and_one_without_does(self):
        chosen = choose_deciders(np.array([[900, 150, 4, 0], [900, 140, 0.5, 0], [900, 140, 0, 0]]))
        assert chosen.counted[:, 2].tolist() == [True, False, True]

    def test_where_nothing_is_large_all_that_is_there_decides(self):
        chosen = choose_deciders(np.array([[900, 0, 0.4, 0], [900, 0, 0, 0.2]]))
        assert chosen.classes.tolist() == [False, False, True, True]
        assert chosen.counted.all()

    def test_where_nothing_is_labelled_every_class_decides(self):
        assert choose_deciders(np.array([[900.0, 0, 0, 0]])).classes.tolist() == [False, True, True, True]


def test_volumes_are_those_of_the_classes_in_millilitres():
    volumes = class_volumes_ml(case(LARGE, SMALL), ENTRY, CLASS_OF)
    assert volumes[1:] == pytest.approx([(16**3 - 216 - 8) * 0.008, 216 * 0.008, 8 * 0.008])


class TestDice:
    def test_a_cyst_of_a_few_voxels_does_not_decide(self):
        values = validated([case(LARGE, SMALL)], blind_to="cyst")
        assert values["dice_cyst"] == 0
        assert values["dice"] == pytest.approx((values["dice_kidney"] + values["dice_tumor"]) / 2)
        assert values["dice"] > 0.99

    def test_a_voxel_too_many_of_what_is_not_there_does_not_decide(self):
        values = validated([case(LARGE)], invents="cyst")
        assert values["dice_cyst"] == 0
        assert values["dice"] == 1

    def test_a_tumor_that_is_large_enough_decides(self):
        values = validated([case(LARGE, SMALL)], blind_to="tumor")
        assert values["dice_tumor"] == 0
        assert values["dice"] < 0.51

    def test_what_is_found_in_vain_in_another_case_counts(self):
        alone = validated([case(LARGE)], invents="tumor")["dice_tumor"]
        both = validated([case(LARGE), case()], invents="tumor")["dice_tumor"]
        assert both < alone < 1

    def test_a_small_tumor_of_another_case_does_not_count(self):
        both = [case(LARGE), case(SMALL, shift=-50)]  # where the image of the second shows no tumor
        assert DecidingValidation(both, ENTRY, CLASS_OF)(Sees())["dice_tumor"] == 1

    def test_a_small_tumor_decides_where_nothing_else_is_there(self):
        lonely = case()
        label = np.zeros_like(lonely.label)
        label[10:12, 10:12, 10:12] = 2
        lonely = CachedCase("small", lonely.image, label, {2: np.argwhere(label == 2)})
        validation = DecidingValidation([lonely], ENTRY, CLASS_OF)
        assert validation.deciding == ("tumor",)
        assert validation(Sees())["dice"] == 0


class TestSimulatedPatches:
    def patches(self, *lesions) -> list:
        cases = [case(tumor) for tumor in lesions]
        found = []
        for one in cases:
            label = torch.from_numpy(np.array([0, 1, 2, 3, 1])[one.label])
            found.append({"image": torch.from_numpy(one.image)[None].float() / 100, "label": label})
        return found

    def test_a_patch_with_a_small_lesion_counts_as_much_as_one_with_a_large_one(self):
        both = PatchDice(self.patches(LARGE, (4, 4, 4)), NAMES, least=20)
        assert both(Sees()) == 1

        class OnlyLarge(Sees):
            def forward(self, image):
                few = int((image == 0).sum()) < 100
                return Sees.forward(Sees("tumor") if few else self, image)

        assert both(OnlyLarge()) == pytest.approx((0.5 + 1.0) / 2, abs=0.01)  # tumors, and kidneys

    def test_few_voxels_do_not_count(self):
        assert PatchDice(self.patches(SMALL), NAMES, least=20)(Sees("tumor")) > 0.99

    def test_they_decide_as_much_as_the_cases(self):
        cases = [case(LARGE)]
        plain = DecidingValidation(cases, ENTRY, CLASS_OF)(Sees("tumor"))
        mixed = DecidingValidation(cases, ENTRY, CLASS_OF, self.patches(None, None))(Sees("tumor"))
        assert mixed["dice_simulated"] == 1
        assert mixed["dice"] == pytest.approx((plain["dice"] + 1) / 2)
