"""A calibrated model says how sure a lesion is, and marks nothing in an image unlike those of its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hlfd.config import SegmentSettings
from hlfd.errors import ModelError
from hlfd.inference.quality import UNLIKE, evidence_at
from hlfd.inference.quality_image import ImageFacts, Limits, OrganFacts, image_facts, locator_facts
from hlfd.inference.quality_lesions import LesionEvidence, gather_evidence
from hlfd.inference.quality_model import Confidence
from hlfd.inference.roles import make_roles
from hlfd.inference.segmenter import Segmenter
from hlfd.preprocess.frame import make_frame
from hlfd.preprocess.grid import Grid
from hlfd.preprocess.orientation import canonical
from hlfd.volume import Volume
from hlfd.words import left_out, sureness

CPU = SegmentSettings(backend="openvino")
LIMITS = {
    **{"soft": [0.3, None], "bright": [None, 0.1], "tissue": [-20, 140], "neighbours": [0.6, None]},
    **{"entropy": [None, 0.695], "located": [0.5, None], "refined": [0.5, None]},
}
CONFIDENCE = {"bias": -1.0, "weights": {"certainty": 4.0, "size": 1.0}}
GRID = Grid((10.0, 20.0, 30.0), (2.0, 2.0, 2.0), (12, 12, 12))


@pytest.fixture(scope="module")
def checked(exact_package) -> Segmenter:
    quality = {"limits": LIMITS, "confidence": CONFIDENCE}
    return Segmenter(replace(exact_package, metadata={"quality": quality}), CPU)


def changed(volume: Volume, array: np.ndarray) -> Volume:
    return Volume(array.astype(np.int16), volume.affine)


def test_every_lesion_of_a_calibrated_model_has_a_confidence(checked, patient):
    examined = checked.examine(patient[0])
    assert examined.result.warnings == ()
    assert len(examined.evidence) == len(examined.result.lesions) == 2
    for lesion, evidence in zip(examined.result.lesions, examined.evidence):
        assert 0.0 < lesion.confidence < 1.0
        assert lesion.confidence == pytest.approx(Confidence(-1.0, CONFIDENCE["weights"])(evidence))
        assert 1000**evidence.size == pytest.approx(lesion.volume_ml)
    assert [row["confidence"] for row in examined.result.to_dict()["lesions"]] == [
        lesion.confidence for lesion in examined.result.lesions
    ]


def test_masses_that_are_almost_surely_none_are_given_back_and_counted(checked, patient):
    known = checked.run(patient[0])
    every = [lesion.confidence for lesion in known.lesions]
    package = checked.package
    between = Segmenter(package, replace(CPU, min_confidence=sum(every) / 2)).run(patient[0])
    assert [lesion.confidence for lesion in between.lesions] == pytest.approx([max(every)])
    gone = known.lesions[every.index(min(every))]
    assert between.left_out_ml == pytest.approx((gone.volume_ml,), rel=0.15)  # measured on the coarser working grid
    given = between.label_map.array[known.label_map.array == gone.value]
    assert not (given == gone.value).any()
    rest = known.label_map.array != gone.value
    assert (between.label_map.array == known.label_map.array)[rest].mean() > 0.999
    own = replace(package, metadata={"quality": {**package.metadata["quality"], "min_confidence": sum(every) / 2}})
    assert Segmenter(own, CPU).run(patient[0]).lesions == between.lesions
    assert len(Segmenter(own, replace(CPU, min_confidence=0.0)).run(patient[0]).lesions) == 2
    nothing = Segmenter(package, replace(CPU, min_confidence=1.0)).run(patient[0])
    assert nothing.lesions == ()
    assert len(nothing.left_out_ml) == 2
    assert left_out(nothing.left_out_ml).startswith("2 doubtful masses of at most ")
    assert left_out(between.left_out_ml).startswith("1 doubtful mass of ")
    assert left_out(known.left_out_ml) == ""


def test_a_model_without_calibration_gives_no_confidence_and_no_warning(exact_package, patient):
    result = Segmenter(exact_package, CPU).run(patient[0])
    assert [lesion.confidence for lesion in result.lesions] == [None, None]
    assert result.warnings == ()


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0, 300, shape)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu + 1024, "rescale intercept"),
        (lambda hu: hu - 1024, "of it has the HU of fat and organs"),
        (lambda hu: noise(hu.shape), "grainy like noise"),
        (lambda hu: np.full(hu.shape, -1000) + noise(hu.shape) / 30, "of it has the HU of fat and organs"),
        (lambda hu: np.where(hu == 200, 20, np.where(hu > 200, 20, hu)), "it shows no kidney"),
    ],
    ids=["offset", "negative offset", "noise", "air", "no kidneys"],
)
def test_an_image_unlike_the_training_is_named_and_nothing_is_marked(checked, patient, change, words):
    volume = patient[0]
    result = checked.run(changed(volume, change(volume.array.astype(np.float64))))
    assert any(warning.startswith(UNLIKE) and words in warning for warning in result.warnings)
    assert not result.label_map.array.any()
    assert result.lesions == ()
    assert [structure.voxels for structure in result.structures] == [0] * 4


def test_an_organ_of_which_the_networks_are_not_sure_is_not_marked(exact_package, patient):
    limits = {"limits": {"refined": [0.999, None]}}
    result = Segmenter(replace(exact_package, metadata={"quality": limits}), CPU).run(patient[0])
    assert result.warnings == (
        f"{UNLIKE}: what was found does not look surely like a kidney. Nothing was marked there.",
    )
    assert not result.label_map.array.any()


def test_who_asks_for_the_whole_body_gets_the_result_with_the_warning(exact_package, patient):
    limits = {"limits": {"refined": [0.999, None]}}
    settings = SegmentSettings(backend="openvino", mode="box")
    result = Segmenter(replace(exact_package, metadata={"quality": limits}), settings).run(patient[0])
    assert result.label_map.array.any()
    assert result.warnings == (
        f"{UNLIKE}: what was found does not look surely like a kidney. Check every part of the result.",
    )


def test_fat_is_told_where_there_is_any():
    def facts(values: np.ndarray) -> ImageFacts:
        frame = make_frame(canonical(Volume(values.astype(np.int16), np.diag([10.0, 10.0, 10.0, 1.0]))), 1)
        return image_facts(frame, frame.box)

    body = np.full((12, 12, 12), 40)
    assert facts(body).fat is None
    body[:, :3] = -104
    assert facts(body).fat == -104
    assert facts(body // 2).fat == -52


def test_an_unsure_locator_speaks_against_the_image():
    sure, unsure = np.zeros((2, 4, 6, 6, 6), np.float32)
    sure[0] = 20
    assert locator_facts(sure).entropy == pytest.approx(0, abs=1e-6)
    assert locator_facts(unsure).entropy == pytest.approx(np.log(4), rel=1e-5)


def test_the_reason_names_value_and_range():
    ranges = {"tissue": [10, 130], "fat": [-125, -75], "bright": [None, 0.05], "soft": [0.3, None]}
    limits = Limits.of({"limits": ranges})
    facts = ImageFacts(soft=0.12, bright=0.2, tissue=170.0, fat=-52.0, neighbours=0.9)
    assert limits.broken(facts, "liver") == [
        "12% of it has the HU of fat and organs, at least 30% were expected",
        "20% of it is as bright as bone, at most 5% were expected; check the rescale intercept",
        "its soft tissue has 170 HU, 10 to 130 were expected; check the rescale slope and intercept",
        "its fat has -52 HU, -125 to -75 were expected; check the rescale slope and intercept",
    ]
    assert limits.broken(replace(facts, fat=None), "liver") == limits.broken(facts, "liver")[:-1]  # nothing to judge by
    assert limits.broken(OrganFacts(0.0, 0.0), "liver") == []  # no limits were given for these


def lesions_of(exact_package, tumor_logit):
    """Evidence of a tumor block of 4^3 voxels in the organ, and a cyst of 2^3 beside it."""
    labels = np.ones(GRID.shape, np.uint8)
    labels[2:6, 2:6, 2:6], labels[8:10, 8:10, 8:10] = 2, 3
    logits = np.zeros((4, *GRID.shape), np.float32)
    for index in range(1, 4):
        logits[index][labels == index] = tumor_logit
    return gather_evidence(logits, labels, GRID, make_roles(exact_package))


def test_evidence_is_the_mean_probability_of_class_and_lesion_and_the_size(exact_package):
    tumor, cyst = lesions_of(exact_package, 2.0).lesions
    chance = np.exp(2) / (np.exp(2) + 3)
    assert tumor.certainty == cyst.certainty == pytest.approx(chance, rel=1e-5)
    assert tumor.lesion == pytest.approx(chance + (1 - chance) / 3, rel=1e-5)
    assert 1000**tumor.size == pytest.approx(64 * 8 / 1000)
    assert 1000**cyst.size == pytest.approx(8 * 8 / 1000)


def test_evidence_is_found_by_place_and_kind(exact_package):
    region = lesions_of(exact_package, 2.0)
    tumor, cyst = region.lesions
    in_tumor = np.array([[10 + 2 * 3, 20 + 2 * 4, 30 + 2 * 5.2]])
    in_cyst = np.array([[10 + 2 * 8, 20 + 2 * 9, 30 + 2 * 9]])
    assert evidence_at([region], np.vstack([in_tumor, in_tumor, in_cyst]), cyst=False) is tumor
    assert evidence_at([region], np.vstack([in_tumor, in_tumor, in_cyst]), cyst=True) is cyst
    beside = np.array([[10 + 2 * 6 - 0.9, 20 + 2 * 4, 30 + 2 * 4]])  # nearest to no voxel of it, but between two
    assert evidence_at([region], beside, cyst=False) is tumor
    assert evidence_at([region], np.array([[500.0, 0.0, 0.0]]), cyst=True) is None
    assert evidence_at([], in_tumor, cyst=False) is None


def test_a_region_without_lesions_has_no_evidence(exact_package):
    empty = gather_evidence(
        np.zeros((4, 4, 4, 4), np.float32), np.ones((4, 4, 4), np.uint8), GRID, make_roles(exact_package)
    )
    assert empty.lesions == ()
    assert empty.at(np.zeros((3, 3)), cyst=False) is None


def test_a_confidence_is_a_logistic_of_the_evidence():
    model = Confidence.of({"confidence": {"bias": -2, "weights": {"certainty": 3, "size": 1.5}}})
    assert model(LesionEvidence(0.9, 0.95, 0.2)) == pytest.approx(1 / (1 + np.exp(2 - 2.7 - 0.3)))
    assert Confidence.of({}) is None


@pytest.mark.parametrize(
    "quality",
    [
        {"confidence": {"bias": 1}},
        {"confidence": {"bias": 1, "weights": {"colour": 2}}},
        {"confidence": {"bias": float("nan"), "weights": {}}},
        {"limits": {"soft": 3}},
        {"limits": {"colour": [0, 1]}},
        {"min_confidence": "much"},
        {"min_confidence": 2},
    ],
)
def test_a_misstated_quality_is_a_model_error(exact_package, quality):
    with pytest.raises(ModelError, match=r"quality\."):
        Segmenter(replace(exact_package, metadata={"quality": quality}), CPU)


def test_a_confidence_in_words_has_three_levels():
    assert sureness(0.86) == "likely, 86\u00a0%"
    assert sureness(0.696) == "likely, 70\u00a0%"
    assert sureness(0.45) == "uncertain, 45\u00a0%"
    assert sureness(0.04) == "doubtful, 4\u00a0%"
    assert sureness(None) == sureness(float("nan")) == "-"


def test_the_terminal_says_how_sure_each_lesion_is(checked, patient, tmp_path):
    from hlfd.cli.cases import Case
    from hlfd.cli.segment import summary
    from hlfd.cli.single import SegmentedCase

    result = checked.run(patient[0])
    result = replace(result, timing={"total": 1.0})
    lines = summary(SegmentedCase(Case("case", tmp_path / "a", tmp_path / "b"), result, "", patient[0]))
    told = [line for line in lines if "kidney tumor, left" in line]
    assert len(told) == 1
    assert told[0].endswith(sureness(result.lesions[0].confidence))
