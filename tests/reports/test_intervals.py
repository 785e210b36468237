"""Means over seeds and their intervals."""

import numpy as np
import pytest

from orchestrator.reports.intervals import Interval, bootstrap_interval, last_mean


def test_last_mean_by_hand():
    assert last_mean(np.array([0.0, 0.1, 0.2, 0.6])) == pytest.approx(0.3)
    assert last_mean(np.array([0.4])) == 0.4
    with pytest.raises(ValueError, match="no evaluation"):
        last_mean(np.array([]))


def test_interval_of_one_seed_is_a_point():
    assert bootstrap_interval([np.array([0.7])]) == Interval(0.7, 0.7, 0.7)


def test_interval_of_three_seeds_is_their_range():
    # All three draws are the lowest with probability 1/27 = 3.7 %, more than the tail of 2.5 %.
    interval = bootstrap_interval([np.array([0.1, 0.5, 0.9])])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, 0.1, 0.9))


def test_interval_of_many_seeds_is_that_of_the_mean():
    # 100 draws of 0 or 1: the mean's standard deviation is 0.05, and 1.96 of them are 0.098.
    interval = bootstrap_interval([np.array([0.0, 1.0] * 50)])
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.402, abs=0.011) and interval.high == pytest.approx(0.598, abs=0.011)


def test_strata_keep_their_share():
    # Seeds are drawn within each task, so tasks that differ add nothing to the interval.
    assert bootstrap_interval([np.zeros(5), np.ones(5)]) == Interval(0.5, 0.5, 0.5)
    mixed = bootstrap_interval([np.array([0.0] * 5 + [1.0] * 5)])
    assert mixed.low < 0.3


def test_interval_needs_scores():
    for strata in ([], [np.array([])], [np.ones(2), np.array([])]):
        with pytest.raises(ValueError, match="every task needs at least one score"):
            bootstrap_interval(strata)


def test_interval_repeats():
    scores = [np.array([0.1, 0.4, 0.9, 0.3])]
    assert bootstrap_interval(scores) == bootstrap_interval(scores)
