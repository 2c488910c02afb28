"""Rare anatomy: each variation changes what it names and leaves the rest of the patient alone."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from hlfd.errors import ConfigError
from hlfd.phantom import AcquisitionSettings, AnatomySettings, Tissue, render, to_labels
from hlfd.phantom.anatomy import build_variations
from hlfd.phantom.variation import Variation

SETTINGS = AnatomySettings(
    spacing_mm=4.0,
    shape=(64, 70, 96),
    centre_z=-10.0,
    mirror=False,
    shift_mm=0.0,
    tumors=1,
    tumor_mm=(30, 35),
    cysts=0,
    missing_kidney="none",
    arms=False,
)
ORDINARY = Variation()
VARIATIONS = {
    "removed": Variation(removed="healthier"),
    "fused": Variation(fused=True),
    "mass": Variation(mass_ml=600.0),
    "small": Variation(small_ml=(0.7, 0.9)),
    "metal": Variation(metal=True),
}
LEFT, TUMOR, RIGHT = 1, 2, 4
VOXEL_ML = 0.064
MIDDLE = 47.5


@pytest.fixture(scope="module")
def tissues():
    """Tissue arrays by name of the variation, of one patient."""
    found = build_variations(SETTINGS, 4, [ORDINARY, *VARIATIONS.values()])
    return {name: found[which].tissue.numpy() for name, which in {"ordinary": ORDINARY, **VARIATIONS}.items()}


def test_the_healthier_kidney_is_removed_and_the_other_one_stays_as_it_was(tissues):
    before, after = to_labels(tissues["ordinary"]), to_labels(tissues["removed"])
    assert (before == TUMOR).any()
    np.testing.assert_array_equal(after == TUMOR, before == TUMOR)
    stays, gone = (LEFT, RIGHT) if (after == LEFT).any() else (RIGHT, LEFT)
    assert (before == gone).any()
    assert not (after == gone).any()
    np.testing.assert_array_equal(after == stays, before == stays)


def test_fused_kidneys_are_one_part_across_the_spine(tissues):
    def kidneys(name):
        return ndimage.label(np.isin(to_labels(tissues[name]), (LEFT, RIGHT, TUMOR)))

    assert kidneys("ordinary")[1] >= 2
    parts, _ = kidneys("fused")
    sizes = np.bincount(parts.ravel())[1:]
    largest = np.argwhere(parts == sizes.argmax() + 1)
    assert sizes.max() > 0.95 * sizes.sum()
    assert largest[:, 2].min() < MIDDLE - 10
    assert largest[:, 2].max() > MIDDLE + 10


def test_a_mass_has_its_volume_and_yields_to_bone(tissues):
    more = (to_labels(tissues["mass"]) == TUMOR) & (to_labels(tissues["ordinary"]) != TUMOR)
    assert more.sum() * VOXEL_ML == pytest.approx(600, rel=0.02)
    assert not np.isin(tissues["ordinary"][more], (Tissue.BONE_CORTEX, Tissue.MUSCLE, Tissue.SKIN, Tissue.AIR)).any()


def test_each_kidney_gets_one_small_tumor(tissues):
    more = (to_labels(tissues["small"]) == TUMOR) & (to_labels(tissues["ordinary"]) != TUMOR)
    parts, count = ndimage.label(more, np.ones((3, 3, 3)))
    assert count == 2
    assert (np.bincount(parts.ravel())[1:] * VOXEL_ML).max() < 1.0


def test_metal_lies_in_the_spine_and_nothing_else_changes(tissues):
    metal = tissues["metal"] == Tissue.METAL
    assert metal.any()
    assert abs(np.argwhere(metal)[:, 2].mean() - MIDDLE) < 6
    np.testing.assert_array_equal(tissues["metal"][~metal], tissues["ordinary"][~metal])


def test_a_thick_slice_is_the_mean_of_its_tissues():
    tissue = torch.full((8, 40, 40), int(Tissue.MUSCLE), dtype=torch.uint8)
    tissue[::2] = int(Tissue.FAT_VISCERAL)
    settings = AcquisitionSettings(phase="native", noise=0.0, slice_mm=0.0)
    thin = render(tissue, 2.0, 1, settings)
    thick = render(tissue, 2.0, 1, settings, averaged=2)
    assert thick.shape == (4, 40, 40)
    assert thick.mean().item() == pytest.approx(thin.mean().item(), abs=6)
    assert thick.std() < 0.3 * thin.std()


@pytest.mark.parametrize("wrong", [{"removed": "upper"}, {"mass_ml": -1.0}, {"small_ml": (0.0, 1.0)}])
def test_a_variation_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        Variation(**wrong)
