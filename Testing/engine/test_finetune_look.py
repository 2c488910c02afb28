"""The look of a local scanner: measured on labelled cases, and given to simulated patients."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from scipy import ndimage

from hlfd.phantom import Tissue
from hlfd.training.cases import CachedCase
from hlfd.training.finetune_data import MixedSource
from hlfd.training.finetune_look import LocalLook, measure_look
from Testing.engine.test_finetune_guide import Constant

MEMBERS = ("", "left kidney", "kidney tumor", "kidney cyst")
KIDNEY, TUMOR, CYST = 170.0, 120.0, 12.0


def drawn_case(noise: float = 0.0, grain_voxels: float = 0.0, label: int = 1) -> CachedCase:
    """Return a cube of kidney with a tumor and a cyst in it."""
    shape, rng = (48, 60, 60), np.random.default_rng(5)
    labels, hu = np.zeros(shape, np.uint8), np.full(shape, -90.0)
    for value, inner, level in (
        (label, np.s_[8:40, 10:50, 10:50], KIDNEY),
        (2, np.s_[12:24, 14:28, 14:28], TUMOR),
        (3, np.s_[26:36, 30:44, 30:44], CYST),
    ):
        labels[inner], hu[inner] = value, level
    grains = ndimage.gaussian_filter(rng.standard_normal(shape), (0, grain_voxels, grain_voxels))
    hu = hu + noise * grains / grains.std()
    points = {int(value): np.argwhere(labels == value) for value in np.unique(labels) if value}
    return CachedCase("drawn", hu.astype(np.int16), labels, points)


def test_levels_of_organ_and_lesions_are_measured_inside_of_them():
    look = measure_look(drawn_case(), MEMBERS, 1.5)
    assert (look.dark, look.bright) == pytest.approx((KIDNEY, KIDNEY), abs=1)
    assert look.lesions["kidney tumor"] == pytest.approx((TUMOR,), abs=1)
    assert set(look.lesions) == {"kidney tumor"}  # a cyst is water everywhere


@pytest.mark.parametrize(("noise", "grain_mm"), [(12.0, 0.9), (35.0, 1.8)])
def test_noise_and_its_grain_are_measured(noise, grain_mm):
    look = measure_look(drawn_case(noise, grain_mm / 1.5), MEMBERS, 1.5)
    assert look.noise == pytest.approx(noise, rel=0.15)
    assert look.grain_mm == pytest.approx(grain_mm, rel=0.2)
    assert look.bright - look.dark < 1.2 * noise  # noise is not taken for cortex and medulla
    assert look.lesions["kidney tumor"][0] == pytest.approx(TUMOR, abs=0.7 * noise)


def test_a_case_without_an_organ_has_no_look():
    assert measure_look(drawn_case(label=2), ("", "", "kidney tumor", "kidney cyst"), 1.5) is None
    nothing = CachedCase("air", np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8), {})
    assert measure_look(nothing, MEMBERS, 1.5) is None


def test_drawn_scans_have_the_look():
    look = measure_look(drawn_case(20.0, 0.8), MEMBERS, 1.5)
    draw = LocalLook([look], seed=1)
    scans = [draw(np.random.default_rng(n)) for n in range(20)]
    for scan in scans:
        assert scan.patient.hu[Tissue.KIDNEY_LEFT_CORTEX] == pytest.approx(look.bright, rel=0.07)
        assert scan.patient.hu[Tissue.TUMOR_PAPILLARY] == pytest.approx(look.lesions["kidney tumor"][0], rel=0.09)
        assert -5 < scan.patient.hu[Tissue.CYST] < 25
        assert scan.noise == pytest.approx(look.noise, rel=0.21)
    livers = {float(scan.patient.hu[Tissue.LIVER]) for scan in scans}
    assert len(livers) > 1  # what is not labelled stays drawn


def test_shares_of_three_sources_are_kept():
    source = MixedSource(Constant(0.0), Constant(1.0), 0.3, 2, guide_replayed=True, look=Constant(2.0), look_share=0.4)
    samples = [source.sample(index) for index in range(600)]
    kinds = [int(sample["image"].max()) for sample in samples]
    assert [kinds.count(kind) / 600 for kind in range(3)] == pytest.approx([0.3, 0.3, 0.4], abs=0.05)
    assert {bool(sample["guided"]) for sample, kind in zip(samples, kinds) if kind != 1} == {False}
