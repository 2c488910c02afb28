"""The liver of a liver study: lesions of the kinds and sizes asked for, their HU by phase, nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from hlfd.labels import LIVER, LIVER_TUMOR
from hlfd.phantom import AnatomySettings, Tissue, build_anatomy, to_labels
from hlfd.phantom.canvas import Canvas, Grid
from hlfd.phantom.intensity import PHASES, draw_patient
from hlfd.phantom.liver import LiverPlan, paint_liver_lesions
from hlfd.phantom.tissues import LIVER_BENIGN_TISSUES, LIVER_TUMOR_TISSUES

SMALL = {"spacing_mm": 6.0, "shape": (48, 48, 64), "centre_z": 40.0}
NEXT_DRAW = {  # of the generator after the intensities of a patient, as before liver lesions had values of their own
    "native": 0.3762878361299201,
    "corticomedullary": 0.6284619478662907,
    "nephrographic": 0.6284619478662907,
    "excretory": 0.7930236580980341,
    "mixed": 0.11271699172286997,
    "random": 0.9613508447364569,
}


@pytest.fixture(scope="module")
def ball():
    """A canvas of 2 mm whose middle is a round liver of 60 mm radius, and that liver's field."""

    def make() -> tuple[Canvas, torch.Tensor]:
        grid = Grid((-69.0, -69.0, -69.0), (2.0, 2.0, 2.0), (70, 70, 70))
        canvas = Canvas(grid, np.random.default_rng(0), warp_mm=0.0)
        field = torch.sqrt(sum(c**2 for c in canvas.coordinates())) - 60.0
        canvas.paint(field, Tissue.LIVER)
        return canvas, field

    return make


def painted(ball, seed: int, **plan) -> np.ndarray:
    canvas, field = ball()
    paint_liver_lesions(canvas, field, LiverPlan(**plan), np.random.default_rng(seed))
    return canvas.tissue.numpy()


@pytest.mark.parametrize(("diameter", "low", "high"), [(6.0, 0.04, 0.25), (40.0, 15.0, 60.0)])
def test_a_tumor_has_about_the_volume_of_its_diameter(ball, diameter, low, high):
    ml = [
        np.isin(painted(ball, seed, tumors=1, benign=0, tumor_mm=(diameter, diameter)), LIVER_TUMOR_TISSUES).sum()
        * 0.008
        for seed in range(8)
    ]
    assert low < np.median(ml) < high
    assert min(ml) > 0


def test_as_many_tumors_are_painted_as_asked_for(ball):
    tissue = painted(ball, 5, tumors=4, benign=0, tumor_mm=(6.0, 10.0))
    _, count = ndimage.label(np.isin(tissue, LIVER_TUMOR_TISSUES), np.ones((3, 3, 3)))
    assert 3 <= count <= 4  # two may touch


def test_tumors_leave_most_of_the_liver(ball):
    tissue = painted(ball, 1, tumors=40, benign=0, tumor_mm=(50.0, 80.0))
    liver = np.isin(tissue, [*LIVER_TUMOR_TISSUES, Tissue.LIVER])
    assert 0.3 < np.isin(tissue, LIVER_TUMOR_TISSUES).sum() / liver.sum() < 0.75


def test_cysts_and_haemangiomas_are_labelled_liver_and_stay_inside_it(ball):
    before = ball()[0].tissue.numpy()
    after = painted(ball, 2, tumors=0, benign=6)
    assert np.isin(after, LIVER_BENIGN_TISSUES).any()
    assert (to_labels(after) == to_labels(before)).all()


def test_without_room_for_a_lesion_none_is_painted():
    canvas = Canvas(Grid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (20, 20, 20)), np.random.default_rng(0))
    far = torch.full(canvas.nodes.shape, 50.0)
    paint_liver_lesions(canvas, far, LiverPlan(tumors=3, benign=3), np.random.default_rng(1))
    assert not canvas.tissue.any()


def test_a_liver_study_has_a_whole_liver_with_lesions_and_without_it_there_are_none_of_these():
    plain = build_anatomy(AnatomySettings(**SMALL), seed=3).tissue.numpy()
    study = build_anatomy(
        AnatomySettings(**SMALL, liver_study=True, liver_lesions=3, liver_tumor_mm=(20, 40), liver_benign=2), seed=3
    ).tissue.numpy()
    new = [tissue for tissue in Tissue if tissue > Tissue.ANGIOMYOLIPOMA_FAT]
    assert not np.isin(plain, new).any()
    assert np.isin(study, LIVER_BENIGN_TISSUES).any()
    ml = np.bincount(to_labels(study).ravel(), minlength=20) * 0.216
    assert 700 < ml[LIVER.value] + ml[LIVER_TUMOR.value] < 3500
    assert 3 < ml[LIVER_TUMOR.value] < 150


@pytest.mark.parametrize("phase", PHASES)
def test_the_values_of_liver_lesions_are_drawn_aside_of_all_others(phase):
    rng = np.random.default_rng(7)
    draw_patient(rng, phase)
    assert rng.random() == pytest.approx(NEXT_DRAW[phase], abs=1e-12)


def differences(phase: str, tissue: Tissue) -> np.ndarray:
    """HU of a tissue above the liver's, in 100 patients."""
    patients = [draw_patient(np.random.default_rng(seed), phase) for seed in range(100)]
    return np.array([patient.hu[tissue] - patient.hu[Tissue.LIVER] for patient in patients])


def test_metastases_are_darker_than_the_liver_in_the_portal_phase_and_seen_without_contrast_medium():
    assert np.mean(differences("nephrographic", Tissue.LIVER_METASTASIS_2) < -10) > 0.9
    assert np.abs(differences("native", Tissue.LIVER_METASTASIS_3)).min() >= 5.9


def test_carcinomas_are_bright_in_the_arterial_phase_and_washed_out_later():
    assert np.mean(differences("corticomedullary", Tissue.LIVER_HCC_2) > 10) > 0.7
    assert np.mean(differences("nephrographic", Tissue.LIVER_HCC_2) < 0) > 0.95
    assert np.mean(differences("excretory", Tissue.LIVER_TUMOR_CAPSULE) > 0) > 0.95


@pytest.mark.parametrize("phase", PHASES)
def test_cysts_are_water_in_every_phase(phase):
    values = [draw_patient(np.random.default_rng(seed), phase).hu[Tissue.LIVER_CYST] for seed in range(30)]
    assert -4 < min(values) <= max(values) < 20


def test_haemangiomas_fill_from_their_nodules():
    patients = [draw_patient(np.random.default_rng(seed), "corticomedullary") for seed in range(20)]
    assert all(p.hu[Tissue.LIVER_HEMANGIOMA_NODULE] > p.hu[Tissue.LIVER_HEMANGIOMA] + 40 for p in patients)
    late = [draw_patient(np.random.default_rng(seed), "excretory") for seed in range(20)]
    assert all(p.hu[Tissue.LIVER_HEMANGIOMA] > 50 for p in late)
