"""Means, paired differences and their intervals, checked against numbers worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hlfd.compare.statistics import Bootstrap, mean_per_case, summarise
from hlfd.errors import InputError


def test_the_spread_is_that_of_the_means_of_the_seeds():
    summary = summarise(np.array([[0.2, 0.4], [0.6, 0.8], [0.4, 0.6]]))
    assert summary.mean == pytest.approx(0.5)
    assert summary.per_seed == pytest.approx([0.3, 0.7, 0.5])
    assert summary.sd == pytest.approx(0.2)  # of 0.3, 0.7, 0.5: sqrt((0.04 + 0.04 + 0) / 2)


def test_one_seed_has_no_spread():
    assert summarise(np.array([[0.2, 0.4]])).sd is None


def test_scans_of_one_case_are_averaged():
    values, cases = mean_per_case(np.array([[0.1, 0.3, 0.8]]), ["00002_00", "00002_01", "00001_00"])
    assert cases == ["00001", "00002"]
    np.testing.assert_allclose(values, [[0.8, 0.2]])


def test_a_method_does_not_differ_from_itself():
    scores = np.random.default_rng(0).random((3, 10))
    difference = Bootstrap(3, 10, 500).difference(scores, scores)
    assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
    assert difference.verdict == 0


def test_a_constant_gain_has_an_interval_of_no_width():
    scores = np.random.default_rng(0).random((3, 10))
    difference = Bootstrap(3, 10, 500).difference(scores + 0.1, scores)
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert difference.verdict == 1


def test_the_interval_is_that_of_all_possible_resamples():
    """With two seeds and two cases all 16 equally likely pairs of draws can be listed."""
    paired = np.array([[0.0, 1.0], [2.0, 5.0]])
    draws = list(itertools.product(range(2), repeat=2))
    means = [np.mean([paired[s, c] for s in seeds for c in cases]) for seeds in draws for cases in draws]
    difference = Bootstrap(2, 2, 60_000, level=0.8).difference(paired, np.zeros((2, 2)))
    assert difference.mean == pytest.approx(2.0)
    assert difference.low == pytest.approx(np.percentile(means, 10, method="inverted_cdf"), abs=1e-9)
    assert difference.high == pytest.approx(np.percentile(means, 90, method="inverted_cdf"), abs=1e-9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    bootstrap = Bootstrap(5, 40, 400, level=0.9)
    covered = 0
    for _ in range(200):
        paired = 0.3 + rng.normal(0, 0.1, (1, 40)) + rng.normal(0, 0.05, (5, 40))
        found = bootstrap.difference(paired, np.zeros((5, 40)))
        covered += found.low <= 0.3 <= found.high
    assert 0.84 <= covered / 200 <= 0.97


def test_the_order_of_the_pair_turns_the_interval_around():
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 12)), rng.random((3, 12))
    bootstrap = Bootstrap(3, 12, 2000)
    there, back = bootstrap.difference(a, b), bootstrap.difference(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(2).random((2, 3, 9))
    first, again, other = (Bootstrap(3, 9, 300, seed=seed).difference(*scores) for seed in (4, 4, 5))
    assert first == again
    assert first.low != other.low


@pytest.mark.parametrize("scores", [np.zeros((0, 3)), np.array([[np.nan, 1.0]]), np.zeros(3)])
def test_scores_that_are_no_table_of_numbers_are_refused(scores):
    with pytest.raises(InputError, match="finite numbers"):
        summarise(scores)


def test_scores_of_other_cases_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        Bootstrap(2, 3, 100).difference(np.zeros((2, 4)), np.zeros((2, 4)))
