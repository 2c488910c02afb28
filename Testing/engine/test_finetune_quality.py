"""A fine-tuned version keeps the quality signal of its base and knows the local scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from hlfd.config import SegmentSettings
from hlfd.inference import Segmenter
from hlfd.inference.quality import UNLIKE
from hlfd.io import write_volume
from hlfd.training.finetune_quality import carried_quality, widened
from hlfd.volume import Volume

CPU = SegmentSettings(device="cpu")
CONFIDENCE = {"bias": -1.0, "weights": {"certainty": 4.0}}
LIMITS = {"soft": [0.2, None], "neighbours": [0.1, None], "refined": [0.0, None]}


@pytest.fixture
def scan(patient, tmp_path) -> tuple[Volume, Path]:
    """A scan with more contrast medium than the limits know: soft tissue lies 60 HU higher."""
    volume = patient[0]
    bright = Volume((volume.array + 60 * (volume.array > -20)).astype(np.int16), volume.affine)
    write_volume(bright, tmp_path / "bright.nii.gz")
    return bright, tmp_path / "bright.nii.gz"


@pytest.fixture
def base(exact_package, patient):
    """A package that knows soft tissue up to 20 HU above that of the patient."""
    usual = Segmenter(exact_package, CPU).examine(patient[0]).image.tissue
    limits = {**LIMITS, "tissue": [-20.0, usual + 20]}
    return replace(exact_package, metadata={"quality": {"limits": limits, "confidence": CONFIDENCE, "scans": 8}})


def test_what_the_base_refuses_is_known_after_it_was_learned_from(base, scan):
    volume, path = scan
    refused = Segmenter(base, CPU).run(volume)
    assert not refused.label_map.array.any()
    assert any(warning.startswith(UNLIKE) for warning in refused.warnings)
    quality = carried_quality(base, [path], "cpu")
    assert quality["confidence"] == CONFIDENCE
    assert quality["limits"]["tissue"][1] > base.metadata["quality"]["limits"]["tissue"][1]
    assert quality["limits"]["refined"] == LIMITS["refined"]
    result = Segmenter(replace(base, metadata={"quality": quality}), CPU).run(volume)
    assert not any(warning.startswith(UNLIKE) for warning in result.warnings)


def test_a_base_without_a_quality_signal_passes_none_on(exact_package, scan):
    assert carried_quality(exact_package, [scan[1]], "cpu") == {}


def test_ranges_hold_both_and_an_open_end_stays_open():
    known = {"soft": [0.3, None], "tissue": [-2.0, 134.0], "located": [0.5, None]}
    local = {"soft": [0.4, None], "tissue": [60.0, 171.0], "entropy": [None, 0.2]}
    assert widened(known, local) == {"soft": [0.3, None], "tissue": [-2.0, 171.0], "located": [0.5, None]}
