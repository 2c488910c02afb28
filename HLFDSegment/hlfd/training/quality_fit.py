"""From judged lesions to the coefficients of a confidence, and how well it keeps its word.

Logistic regression with a little ridge, by Newton's method; reliability as expected calibration error over ten bins
(Naeini et al., AAAI 2015; Guo et al., ICML 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlfd.inference.quality_lesions import LesionEvidence
from hlfd.inference.quality_model import Confidence

FEATURES = tuple(LesionEvidence.__dataclass_fields__)
BINS = 10
_RIDGE = 1.0
_ROUNDS = 30
LEAST_OF_EACH = 5
"""Fewer true or false lesions say nothing about a share."""


@dataclass(frozen=True)
class JudgedLesion:
    """What a model said of one lesion, and whether a true lesion of its kind lies there."""

    evidence: LesionEvidence
    true: bool


def fit_confidence(lesions: Sequence[JudgedLesion]) -> Confidence | None:
    """Return the model of highest likelihood on ``lesions``; None where fewer than five are true or false."""
    truth = np.array([lesion.true for lesion in lesions], bool)
    if min(np.count_nonzero(truth), np.count_nonzero(~truth)) < LEAST_OF_EACH:
        return None
    values = np.array([list(asdict(lesion.evidence).values()) for lesion in lesions])
    mean, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    weights = _newton((values - mean) / spread, truth)
    scaled = weights[1:] / spread
    bias = float(weights[0] - scaled @ mean)
    return Confidence(round(bias, 4), {name: round(float(w), 4) for name, w in zip(FEATURES, scaled)})


def _newton(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    columns = np.column_stack([np.ones(len(values)), values])
    ridge = _RIDGE * np.append(0.0, np.ones(values.shape[1]))
    weights = np.zeros(columns.shape[1])
    for _ in range(_ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(columns @ weights, -30, 30)))
        curvature = (columns.T * (chance * (1 - chance) + 1e-6)) @ columns + np.diag(ridge)
        weights -= np.linalg.solve(curvature, columns.T @ (chance - truth) + ridge * weights)
    return weights


def reliability(confidence: Confidence, lesions: Sequence[JudgedLesion]) -> dict[str, Any]:
    """Return how ``confidence`` fits ``lesions``: AUC, expected calibration error, and the bins it is made of."""
    said = np.array([confidence(lesion.evidence) for lesion in lesions])
    true = np.array([lesion.true for lesion in lesions], bool)
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    bins = [
        {
            "from": round(n / BINS, 2),
            "lesions": int(inside.sum()),
            "confidence": round(float(said[inside].mean()), 3),
            "true": round(float(true[inside].mean()), 3),
        }
        for n in range(BINS)
        if (inside := place == n).any()
    ]
    error = sum(b["lesions"] * abs(b["confidence"] - b["true"]) for b in bins) / max(1, len(lesions))
    return {
        "lesions": len(lesions),
        "true": int(true.sum()),
        "auc": area_under_curve(said, true),
        "calibration_error": round(float(error), 4),
        "bins": bins,
    }


def area_under_curve(said: NDArray[np.float64], true: NDArray[np.bool_]) -> float | None:
    """Return the chance that a true lesion has a higher value than a false one; None without both kinds."""
    good, bad = said[true], said[~true]
    if not len(good) or not len(bad):
        return None
    above = good[:, None] > bad[None, :]
    ties = good[:, None] == bad[None, :]
    return round(float(above.mean() + ties.mean() / 2), 4)
