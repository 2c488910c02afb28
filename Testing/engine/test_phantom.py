"""The simulated CT: same seed, same scan; labels that fit the tissues; sides, volumes and phases as asked for."""

import numpy as np
import pytest
import torch

from hlfd.errors import ConfigError
from hlfd.labels import PHANTOM_LABELS
from hlfd.phantom import (
    AcquisitionSettings,
    AnatomySettings,
    PhantomSettings,
    Tissue,
    build_anatomy,
    draw_scan,
    render,
    simulate,
    to_labels,
)
from hlfd.phantom.kidneys import Kidney, _outer_pelvis, draw_pelvis
from hlfd.phantom.shapes import procedural_kidneys

SMALL = AnatomySettings(spacing_mm=6.0, shape=(56, 60, 76), centre_z=-20.0, mirror=False, shift_mm=0.0)


def small(**changes):
    return AnatomySettings(**{**vars(SMALL), **changes})


@pytest.fixture(scope="module")
def anatomy():
    return build_anatomy(small(tumors=1, tumor_mm=(40, 50), cysts=1, cyst_mm=(30, 35)), seed=4)


def test_the_same_seed_gives_the_same_anatomy_and_another_seed_another(anatomy):
    again = build_anatomy(small(tumors=1, tumor_mm=(40, 50), cysts=1, cyst_mm=(30, 35)), seed=4)
    other = build_anatomy(SMALL, seed=5)
    assert torch.equal(again.tissue, anatomy.tissue)
    assert not torch.equal(other.tissue, anatomy.tissue)


def test_an_anatomy_holds_the_organs_of_the_abdomen(anatomy):
    ml = np.bincount(to_labels(anatomy.tissue.numpy()).ravel(), minlength=20) * 0.216
    name = {label.name: ml[label.value] for label in PHANTOM_LABELS}
    assert 60 < name["left kidney"] < 320
    assert 60 < name["right kidney"] < 320
    assert 500 < name["liver"] < 3000
    assert 60 < name["spleen"] < 900
    assert name["kidney tumor"] > 3
    assert name["kidney cyst"] > 1
    for organ in ("bowel", "stomach", "aorta", "inferior vena cava", "bone", "muscle", "fat"):
        assert name[organ] > 10, organ


def test_the_left_kidney_lies_at_smaller_x_than_the_right_one_and_the_liver_on_the_right(anatomy):
    labels = to_labels(anatomy.tissue.numpy())
    assert anatomy.affine[0, 0] > 0  # x grows towards the patient's right in this grid

    def x(value):
        return np.argwhere(labels == value)[:, 2].mean()

    assert x(1) < labels.shape[2] / 2 < x(4)
    assert x(7) < labels.shape[2] / 2 < x(5)


@pytest.mark.parametrize("missing", ["left", "right"])
def test_a_missing_kidney_is_missing(missing):
    labels = to_labels(build_anatomy(small(missing_kidney=missing), seed=6).tissue.numpy())
    absent, present = (1, 4) if missing == "left" else (4, 1)
    assert not (labels == absent).any()
    assert (labels == present).any()


def test_tissue_names_and_label_table_agree():
    labels = to_labels(np.arange(256, dtype=np.uint8))
    assert set(labels[: len(Tissue)]) == {0, *(label.value for label in PHANTOM_LABELS)}
    assert not labels[len(Tissue) :].any()
    for background in (Tissue.RENAL_PELVIS, Tissue.FAT_SINUS, Tissue.STONE, Tissue.AIR):
        assert labels[background] == 0
    assert labels[Tissue.TUMOR_NECROSIS] == labels[Tissue.TUMOR_CLEAR_CELL] == 2


@pytest.mark.parametrize("size", [(96, 96, 96), (3, 5, 7), (1, 40, 40)])
def test_a_patch_of_any_size_renders_to_finite_hounsfield_units(size):
    patch = torch.randint(0, len(Tissue), size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    image = render(patch, 1.5, seed=2)
    assert image.shape == size
    assert image.dtype == torch.float32
    assert torch.isfinite(image).all()
    assert image.min() >= -1024


def test_rendering_is_a_function_of_the_seed(anatomy):
    patch = anatomy.tissue[20:40]
    assert torch.equal(render(patch, 6.0, seed=3), render(patch, 6.0, seed=3))
    assert not torch.equal(render(patch, 6.0, seed=3), render(patch, 6.0, seed=9))


def test_two_parts_of_one_patient_share_their_intensities(anatomy):
    scan = draw_scan(np.random.default_rng(0), AcquisitionSettings(phase="nephrographic", noise=2.0))
    means = [
        render(anatomy.tissue, 6.0, seed, scan=scan)[anatomy.tissue == Tissue.LIVER].mean().item() for seed in (1, 2)
    ]
    assert means[0] == pytest.approx(means[1], abs=5)


@pytest.mark.parametrize(
    ("phase", "tissue", "low", "high"),
    [
        ("native", Tissue.KIDNEY_LEFT_CORTEX, 18, 50),
        ("native", Tissue.AORTA, 27, 55),
        ("corticomedullary", Tissue.KIDNEY_LEFT_CORTEX, 95, 295),
        ("corticomedullary", Tissue.AORTA, 190, 400),
        ("nephrographic", Tissue.KIDNEY_RIGHT_MEDULLA, 75, 290),
        ("excretory", Tissue.RENAL_PELVIS, 40, 1500),
    ],
)
def test_a_phase_has_its_hounsfield_range(phase, tissue, low, high):
    for seed in range(20):
        patient = draw_scan(np.random.default_rng(seed), AcquisitionSettings(phase=phase)).patient
        assert low <= patient.hu[tissue] <= high


def test_noise_has_the_standard_deviation_asked_for():
    empty = torch.full((40, 64, 64), int(Tissue.BOWEL_GAS), dtype=torch.uint8)
    scan = draw_scan(np.random.default_rng(1), AcquisitionSettings(phase="native", noise=15.0))
    scan.patient.hu[Tissue.BOWEL_GAS] = 0  # away from the lower end of the scale
    difference = render(empty, 1.0, 7, scan=scan)
    assert difference.std().item() == pytest.approx(15.0, rel=0.5)


def test_a_thick_slice_averages_along_the_body():
    halves = torch.full((30, 12, 12), int(Tissue.AIR), dtype=torch.uint8)
    halves[15:] = int(Tissue.LIVER)
    widths = []
    for slice_mm in (1.0, 8.0):
        settings = AcquisitionSettings(phase="native", noise=0.0, slice_mm=slice_mm)
        profile = render(halves, 1.0, 3, settings).mean((1, 2))
        widths.append(int(((profile > -900) & (profile < -60)).sum()))
    assert widths[1] >= widths[0] + 5


def test_a_whole_scan_comes_with_its_exact_label_map():
    volume, labels = simulate(PhantomSettings(SMALL, AcquisitionSettings(phase="nephrographic")), seed=8)
    assert volume.array.dtype == np.int16
    assert labels.array.dtype == np.uint8
    assert volume.same_grid(labels)
    assert volume.spacing == pytest.approx((6.0, 6.0, 6.0))
    kidney = volume.array[labels.mask("left kidney", "right kidney")]
    assert kidney.mean() > volume.array[labels.mask("fat")].mean() + 60
    assert set(np.unique(labels.array)) <= {0, *(label.value for label in PHANTOM_LABELS)}


def test_an_anisotropic_grid_is_the_same_kind_of_body():
    anatomy = build_anatomy(small(spacing_mm=(5.0, 5.0, 8.0), shape=(40, 60, 90)), seed=9)
    assert np.linalg.norm(anatomy.affine[:3, :3], axis=0) == pytest.approx([5, 5, 8])
    ml = np.bincount(to_labels(anatomy.tissue.numpy()).ravel(), minlength=20) * 0.2
    assert 60 < ml[1] < 320
    assert 60 < ml[4] < 320


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AnatomySettings(spacing_mm=0.0), "spacing_mm"),
        (lambda: AnatomySettings(shape=(1, 2, 3)), "shape"),
        (lambda: AnatomySettings(subtype="papilary"), "subtype"),
        (lambda: AnatomySettings(missing_kidney="both"), "missing_kidney"),
        (lambda: AcquisitionSettings(phase="portal"), "phase"),
        (lambda: AcquisitionSettings(noise=-1.0), "noise"),
    ],
)
def test_settings_that_make_no_sense_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_stones_liver_lesions_and_a_subtype_appear_when_asked_for():
    asked = small(spacing_mm=3.0, shape=(70, 90, 110), centre_z=10.0, stones=6, liver_lesions=4)
    tissue = build_anatomy(small(**{**vars(asked), "tumors": 2, "subtype": "papillary"}), seed=11).tissue.numpy()
    assert (tissue == Tissue.STONE).any()
    assert np.isin(tissue, [Tissue.LIVER_METASTASIS, Tissue.LIVER_HCC]).any()
    assert (tissue == Tissue.TUMOR_PAPILLARY).any()
    assert not np.isin(tissue, [Tissue.TUMOR_CLEAR_CELL, Tissue.TUMOR_CHROMOPHOBE]).any()


class TestRenalPelvis:
    """The collecting system: urine that is background, like KiTS labels it, whatever its width."""

    def test_half_of_the_kidneys_have_one_outside_and_one_in_seven_is_dilated(self):
        shape = procedural_kidneys(np.random.default_rng(3))[0]
        kidneys = [Kidney(shape, np.zeros(3), 1.0, {"sinus": np.zeros(1), "pelvis": np.zeros(1)}) for _ in range(200)]
        draw_pelvis(kidneys, np.random.default_rng(0))
        outside = np.mean([kidney.pelvis_mm[0] > 0 for kidney in kidneys])
        dilated = np.mean([kidney.fields["sinus"].max() < 0 for kidney in kidneys])
        assert outside == pytest.approx(0.5, abs=0.1)
        assert dilated == pytest.approx(0.14, abs=0.07)
        assert max(kidney.pelvis_mm[0] for kidney in kidneys) <= 18

    def test_urine_outside_the_kidney_lies_towards_the_midline_and_is_background(self):
        found = 0
        for seed in (0, 1):
            tissue = build_anatomy(small(spacing_mm=3.0, shape=(70, 90, 110)), seed).tissue.numpy()
            urine = tissue == Tissue.RENAL_PELVIS
            assert not to_labels(tissue)[urine].any()
            found += int(urine.sum())
        assert found * 0.027 > 2

    def test_the_funnel_points_to_the_midline_on_both_sides(self):
        for shape in procedural_kidneys(np.random.default_rng(3)):
            kidney = Kidney(shape, np.zeros(3), 1.0, hilum=np.array([10.0, 20.0, 30.0]), pelvis_mm=(10.0, 30.0))
            inwards = 1 if shape.side == "left" else -1
            lines = [torch.arange(-40.0, 41.0) + float(position) for position in kidney.hilum]
            at = (lines[0][None, None, :], lines[1][None, :, None], lines[2][:, None, None])
            inside = (_outer_pelvis(kidney, at) < 0).nonzero().float().mean(0) - 40
            assert inside[2] * inwards > 5
            assert abs(float(inside[0])) < 1


def test_metal_throws_streaks_over_its_slices_only():
    tissue = torch.full((6, 60, 60), int(Tissue.MUSCLE), dtype=torch.uint8)
    tissue[2:4, 28:32, 28:32] = int(Tissue.METAL)
    settings = AcquisitionSettings(phase="native", noise=0.0, slice_mm=0.5)
    spread = render(tissue, 1.5, 5, settings)[:, 40:, :].std(dim=(1, 2))
    assert spread[2:4].min() > 2 * spread[[0, 5]].max()
