"""Means over seeds, and paired differences with bootstrap intervals over cases and seeds.

All arrays of scores are (seeds, cases): the same cases for every seed and every method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hlfd.errors import InputError

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Mean over cases and seeds, and standard deviation between seeds (None with a single one)."""

    mean: float
    sd: float | None
    per_seed: list[float]


@dataclass(frozen=True)
class Difference:
    """A mean paired difference and the limits of its bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1 or -1 where the interval lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def summarise(scores: Scores) -> Summary:
    """Return mean and spread of scores (seeds, cases); the spread is the sample deviation of the seeds' means."""
    per_seed = _checked(scores).mean(axis=1)
    sd = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None
    return Summary(float(per_seed.mean()), sd, [float(value) for value in per_seed])


class Bootstrap:
    """Resamples cases and seeds, both with replacement, and keeps the draws, so that all differences share them.

    Cases and seeds are crossed, not nested: a case drawn twice counts twice for every seed drawn. This two-way
    resampling (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007) takes in both that other patients
    and that other first weights could have been drawn; it errs on the side of wide intervals. With few seeds the
    spread between seeds is itself poorly known.
    """

    def __init__(self, seeds: int, cases: int, resamples: int = 10_000, seed: int = 0, level: float = 0.95) -> None:
        if seeds < 1 or cases < 1:
            raise InputError(f"There are {seeds} seeds and {cases} cases; at least one of each was expected.")
        rng = np.random.default_rng(seed)
        self._seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
        self._case_weights = rng.multinomial(cases, np.full(cases, 1 / cases), resamples) / cases
        self._tails = (100 * (1 - level) / 2, 100 * (1 + level) / 2)

    def difference(self, scores: Scores, reference: Scores) -> Difference:
        """Return the paired difference of two methods' scores (seeds, cases) and its percentile interval."""
        paired = _checked(scores) - _checked(reference)
        if paired.shape != (self._seed_weights.shape[1], self._case_weights.shape[1]):
            raise InputError(f"Scores of shape {paired.shape} do not fit the seeds and cases of this bootstrap.")
        means = ((self._seed_weights @ paired) * self._case_weights).sum(axis=1)
        low, high = np.percentile(means, self._tails)
        return Difference(float(paired.mean()), float(low), float(high))


def _checked(scores: Scores) -> Scores:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise InputError(f"Scores of shape {scores.shape} were given; finite numbers (seeds, cases) were expected.")
    return scores


def cases_of(scans: list[str]) -> list[str]:
    """Return the case of each scan ``<case>_<variant>``."""
    return [scan.rsplit("_", 1)[0] for scan in scans]


def mean_per_case(values: NDArray[np.float64], scans: list[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Average scores (..., scans) over the scans of one case; return (..., cases) and the cases' names, sorted.

    Scans of one patient are no independent evidence, so the case is what is resampled.
    """
    names = cases_of(scans)
    cases = sorted(set(names))
    member = np.array([[name == case for name in names] for case in cases], np.float64)
    return values @ (member / member.sum(axis=1, keepdims=True)).T, cases
