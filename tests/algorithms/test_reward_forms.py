"""Forms of reward, by hand and by what each is for."""

import numpy as np
import pytest

from algorithms.reward_forms import formed

SUCCESS, FAILURE = np.array([0, 0, 0, 1], np.float32), np.zeros(4, np.float32)
DETOUR = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
"""Two actions away and two of the way there."""


def of(rewards, form, sparse=SUCCESS, weight=1.0, middle=0.0, discount=0.5):
    rewards = np.array(rewards, np.float32)
    return formed(rewards, sparse[-len(rewards) :], form, weight=weight, middle=middle, discount=discount)


@pytest.mark.parametrize(
    ("form", "options", "expected"),
    [
        ("scores", {}, [0.0, 0.0, 1.0, 1.0]),
        ("scores", {"middle": 0.5, "weight": 0.4}, [-0.2, -0.2, 0.2, 0.2]),
        # Progress 0, then 0, 0, 1, 1: half of what comes after less what was before.
        ("progress", {}, [0.0, 0.0, 0.5, -0.5]),
        # Sums of the signed scores: -0.5, -1, -0.5, 0.
        ("cumulated", {"middle": 0.5}, [-0.25, 0.0, 0.75, 0.5]),
        ("success", {}, [0.0, 0.0, 0.5, 0.5]),
        ("success", {"sparse": FAILURE}, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_each_form_by_hand(form, options, expected):
    np.testing.assert_allclose(of(DETOUR, form, **options), expected, atol=1e-7)


def test_a_potential_returns_the_progress_reached_discounted_by_the_length():
    progress, discount = np.array([0.3, 0.1, 0.6, 0.9], np.float32), 0.9
    rewards = of(progress, "progress", discount=discount)
    assert (rewards * discount ** np.arange(4)).sum() == pytest.approx(discount**4 * 0.9, abs=1e-6)


def test_success_is_shared_evenly_where_nothing_was_scored_and_never_by_negative_rewards():
    np.testing.assert_allclose(of([0, 0, 0, 0], "success"), [0.25] * 4)
    np.testing.assert_allclose(of([0, np.nan, 0, 0], "success"), [1 / 3, np.nan, 1 / 3, 1 / 3], rtol=1e-6)
    np.testing.assert_allclose(of([-2, 1, 3, 0], "success", weight=2.0), [0, 0.5, 1.5, 0])
    assert np.isnan(of([np.nan] * 4, "success")).all()


def test_an_action_without_a_score_has_none_in_any_form():
    gap = [0.5, np.nan, 0.75]
    np.testing.assert_allclose(of(gap, "scores", middle=0.5), [0.0, np.nan, 0.25])
    # What came before it is known, and what follows is not.
    np.testing.assert_allclose(of(gap, "progress"), [0.25, np.nan, np.nan])
    np.testing.assert_allclose(of(gap, "cumulated"), [0.25, np.nan, 0.5 * 1.25 - 0.5])


@pytest.mark.parametrize(
    ("form", "middle", "pays"),
    [("scores", 0.0, True), ("scores", 0.5, True), ("scores", 0.9, False), ("cumulated", 0.9, False),
     ("success", 0.0, False)],
)  # fmt: skip
def test_which_forms_pay_for_a_detour_that_the_rater_takes_for_progress(form, middle, pays):
    direct, detour = ([1.0, 1.0], [0.8, 0.8, 1.0, 1.0])
    returns = []
    for rewards in (direct, detour):
        found = of(rewards, form, middle=middle, discount=0.97)
        returns.append(float((found * 0.97 ** np.arange(len(found))).sum()))
    # Away is given 0.8 and the way back 1: the middle must not lie below 0.9.
    assert (returns[1] > returns[0]) == pays
