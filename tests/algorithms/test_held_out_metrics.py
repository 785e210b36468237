"""Numbers that judge a policy by held-out episodes, worked by hand."""

import math

import numpy as np
import pytest
import torch

from algorithms.actor_network import SquashedGaussianActor
from algorithms.held_out_metrics import (
    auroc,
    balanced_share,
    constant_action,
    discounted_return,
    marginal_log_prob,
    mean_over_groups,
)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0], [2.0, 3.0], 0.0),
        ([2.0, 5.0], [1.0, 4.0], 0.75),  # Of four pairs one is the wrong way round.
        ([2.0, 2.0], [2.0], 0.5),
        ([1.0], [], None),
        ([], [1.0], None),
    ],
)
def test_auroc_is_the_share_of_pairs_in_the_right_order(positive, negative, expected):
    assert auroc(np.array(positive), np.array(negative)) == expected


def test_a_balanced_share_counts_each_class_alike():
    # Class 7: 3 of 4 right; class 2: 0 of 1; class 5: 1 of 1. The plain share is 4 of 6.
    right = np.array([True, True, True, False, False, True])
    assert balanced_share(right, np.array([7, 7, 7, 7, 2, 5])) == pytest.approx((0.75 + 0.0 + 1.0) / 3)


def test_a_return_is_discounted_from_the_first_action():
    assert discounted_return(np.array([1.0, 0.0, 4.0]), 0.5) == 2.0
    assert math.isnan(discounted_return(np.array([1.0, np.nan]), 0.5))


def test_the_interval_of_a_mean_is_over_groups():
    # Two groups that each agree with themselves: a draw has one, the other, or both.
    values, groups = np.array([0.0] * 50 + [1.0] * 50), np.repeat([4, 9], 50)
    assert mean_over_groups(values, groups) == (0.5, 0.0, 1.0)
    alone = mean_over_groups(values, np.arange(100))
    assert 0.3 < alone.low < 0.45 and 0.55 < alone.high < 0.7
    assert mean_over_groups(values, groups) == mean_over_groups(values, groups)
    assert mean_over_groups(np.array([2.0]), np.array([0])) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="no value"):
        mean_over_groups(np.empty(0), np.empty(0, int))


def test_the_constant_action_is_the_closest_one():
    np.testing.assert_array_equal(constant_action(np.float32([[0, 1], [0, 0], [1, 0.5]])), np.float32([0, 0.5]))
    assert constant_action(np.array([2, 0, 2, 1])) == 2
    assert constant_action(np.array([[1, 0], [1, 3], [1, 3], [0, 0]])).tolist() == [1, 3]


def test_who_knows_only_frequencies_has_their_likelihood():
    learned = np.array([0, 0, 1])
    # Each once more than it was: 3, 2 and 1 of 6.
    np.testing.assert_allclose(
        marginal_log_prob(learned, np.array([0, 1, 2]), 3), np.log([3 / 6, 2 / 6, 1 / 6]), atol=1e-12
    )
    pairs = np.array([[0, 0], [1, 1], [1, 1]])
    # Actions 2, 3 of 5; objects, of which only the two that are ones count: 1, 3, 1 of 5.
    np.testing.assert_allclose(
        marginal_log_prob(pairs, np.array([[0, 0], [1, 2]]), 2, 3), np.log([2 / 5, 3 / 5 * 1 / 5]), atol=1e-12
    )


def test_of_vectors_it_is_a_squashed_gaussian_as_a_policy_has_it():
    rng = np.random.default_rng(0)
    learned = np.tanh(rng.normal(0.3, 0.5, (4000, 2))).astype(np.float32)
    before = np.arctanh(np.clip(learned.astype(np.float64), -0.999, 0.999))
    actor = SquashedGaussianActor(1, 2, hidden=())
    log_std = np.log(before.std(axis=0))
    raw = np.arctanh(2.0 * (log_std + 5.0) / 7.0 - 1.0)
    with torch.no_grad():
        actor.head.weight.zero_()
        actor.head.bias.copy_(torch.tensor(np.concatenate([before.mean(axis=0), raw])))
    asked = np.float32([[0.1, -0.4], [1.0, 0.9]])
    expected = actor.log_prob(torch.zeros(2, 1), torch.from_numpy(asked)).detach().numpy()
    np.testing.assert_allclose(marginal_log_prob(learned, asked), expected, rtol=1e-4)
