"""Whether delay pays."""

import numpy as np
import pytest

from algorithms.delay import FEWEST, delay_correlation, delay_warning, discounted_return

LENGTHS = list(range(1, FEWEST + 1))


def correlation(rewards_of):
    return delay_correlation([discounted_return(rewards_of(n), 0.97) for n in LENGTHS], LENGTHS)


@pytest.mark.parametrize(
    ("rewards_of", "expected"),
    [
        (lambda n: np.full(n, 0.6), 1.0),
        (lambda n: np.full(n, -0.4), -1.0),
        (lambda n: np.eye(n)[-1], -1.0),
        (lambda n: np.where(np.arange(n) == 0, 0.6, np.nan), None),
    ],
)
def test_scores_pay_for_delay_costs_and_the_sparse_reward_do_not(rewards_of, expected):
    assert correlation(rewards_of) == (expected if expected is None else pytest.approx(expected))


def test_few_trajectories_or_equal_ones_say_nothing():
    assert delay_correlation([1.0, 2.0], [1, 2]) is None
    assert delay_correlation([float(n) for n in LENGTHS], [3] * FEWEST) is None
    assert discounted_return(np.array([1.0, np.nan, 4.0]), 0.5) == 2.0


def test_the_line_names_what_pays_and_the_setting_to_use():
    said = delay_warning({"reward_a": 0.98, "reward_b": -0.9, "reward_c": None}, 0.97)
    assert "reward_a (0.98)" in said and "reward_b" not in said and "data.reward" in said and "\n" not in said
    assert delay_warning({"reward_b": 0.1, "reward_c": None}, 0.97) is None
