"""The rating loss, with numbers worked by hand."""

import math

import pytest
import torch

from algorithms.rating_loss import (
    class_weights,
    item_losses,
    level_boundaries,
    level_counts,
    level_log_probabilities,
    normalise,
    smoothed_targets,
)

ZERO_TO_ONE = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def loss_of(rewards, ratings, num_ratings, kind="mae", sharpness=30.0, label_smoothing=0.0):
    ratings = torch.tensor(ratings)
    log_probabilities = level_log_probabilities(rewards, ratings, num_ratings, sharpness)
    return item_losses(log_probabilities, smoothed_targets(ratings, num_ratings, label_smoothing), kind)


def boundaries_of(counts, normalised=ZERO_TO_ONE):
    return level_boundaries(normalised, torch.tensor(counts)).tolist()


def test_normalise_maps_lowest_to_0_and_highest_to_1():
    assert normalise(torch.tensor([-1.0, 3.0, 1.0])).tolist() == pytest.approx([0.0, 1.0, 0.5], abs=1e-6)


def test_normalise_passes_gradient_through_minimum_and_maximum():
    rewards = torch.tensor([0.0, 1.0, 4.0], requires_grad=True)
    normalise(rewards)[1].backward()
    # d/d(lo, r, hi) of (r - lo) / (hi - lo) at (0, 1, 4): -(hi - r) / 16, 1 / 4, -(r - lo) / 16.
    assert rewards.grad.tolist() == pytest.approx([-3 / 16, 1 / 4, -1 / 16], abs=1e-6)


def test_boundaries_lie_half_way_between_the_items_that_the_counts_part():
    assert boundaries_of([2, 3, 1]) == pytest.approx([0.0, 0.3, 0.9, 1.0])


def test_boundaries_do_not_depend_on_the_order_of_items():
    mixed = ZERO_TO_ONE[torch.tensor([3, 0, 5, 2, 1, 4])]
    assert boundaries_of([2, 3, 1], mixed) == boundaries_of([2, 3, 1])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 2, 4], [0.0, 0.0, 0.3, 1.0]),
        ([2, 0, 4], [0.0, 0.3, 0.3, 1.0]),
        ([2, 4, 0], [0.0, 0.3, 1.0, 1.0]),
        ([0, 0, 6], [0.0, 0.0, 0.0, 1.0]),
        ([0, 6, 0], [0.0, 0.0, 1.0, 1.0]),
        ([6, 0, 0], [0.0, 1.0, 1.0, 1.0]),
        ([0, 2, 0, 4, 0], [0.0, 0.0, 0.3, 0.3, 1.0, 1.0]),
    ],
)
def test_an_absent_level_has_an_empty_interval(counts, expected):
    assert boundaries_of(counts) == pytest.approx(expected)


def test_a_single_lowest_item_still_has_an_interval():
    # The item below the cut, which both published implementations take, would be 0 and leave level 0 nothing.
    assert boundaries_of([1, 5]) == pytest.approx([0.0, 0.1, 1.0])


def test_probabilities_by_hand():
    # R = 0, 0.5, 1 rated 0, 0, 1: b = 0, 0.75, 1. For R = 0.5 and k = 8 the logits are
    # -8 * 0.5 * (0.5 - 0.75) = 1 and -8 * (0.5 - 0.75) * (0.5 - 1) = -1.
    log_probabilities = level_log_probabilities(torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0, 0, 1]), 2, 8.0)
    expected = 1.0 / (1.0 + math.exp(-2.0))
    assert log_probabilities.exp()[1].tolist() == pytest.approx([expected, 1.0 - expected], abs=1e-5)
    assert log_probabilities.exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_equal_rewards_on_both_sides_of_a_cut_are_undecided():
    # b = 0, 0.5, 1, and both levels' logits are 0 at 0.5.
    probabilities = level_log_probabilities(
        torch.tensor([0.0, 0.5, 0.5, 1.0]), torch.tensor([0, 0, 1, 1]), 2, 30.0
    ).exp()
    assert probabilities[1].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert probabilities[2].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_a_batch_of_some_levels_has_the_loss_of_the_scale_without_the_others(kind):
    rewards = torch.tensor([0.1, 0.7, 0.3, 0.9, 0.5])
    of_two = loss_of(rewards, [0, 1, 0, 1, 1], 2, kind)
    assert torch.allclose(loss_of(rewards, [0, 4, 0, 4, 4], 5, kind), of_two)
    assert torch.allclose(loss_of(rewards, [1, 2, 1, 2, 2], 3, kind), of_two)
    assert torch.allclose(loss_of(rewards, [0, 1, 0, 1, 1], 3, kind), of_two)


def test_an_absent_level_has_no_probability_even_at_the_common_boundary():
    probabilities = level_log_probabilities(torch.tensor([0.0, 1.0, 0.5]), torch.tensor([1, 2, 2]), 3, 30.0).exp()
    assert probabilities[:, 0].tolist() == [0.0, 0.0, 0.0]
    # The lowest item is rated with the lowest level that occurs, and nothing pulls it from there.
    assert probabilities[0, 1].item() > 0.99


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_equal_ratings_teach_nothing(level, kind):
    rewards = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    loss = loss_of(rewards, [level] * 3, 3, kind).sum()
    loss.backward()
    assert loss.item() == 0.0
    assert rewards.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_one_item_has_no_loss_and_a_finite_gradient(kind):
    rewards = torch.tensor([0.3], requires_grad=True)
    loss_of(rewards, [1], 3, kind).sum().backward()
    assert rewards.grad.tolist() == [0.0]


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_constant_predictions_have_finite_losses_and_gradients(kind):
    rewards = torch.full((4,), 0.25, requires_grad=True)
    losses = loss_of(rewards, [0, 1, 2, 2], 3, kind)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(rewards.grad).all()


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
@pytest.mark.parametrize("num_ratings", [2, 3, 4, 5])
def test_order_as_rated_has_less_loss_than_its_reverse(kind, num_ratings):
    rewards = torch.linspace(-1.0, 1.0, 20)
    ratings = [int(index * num_ratings / 20) for index in range(20)]
    right, wrong = loss_of(rewards, ratings, num_ratings, kind), loss_of(-rewards, ratings, num_ratings, kind)
    assert right.mean() < 0.5 * wrong.mean()


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_gradient_parts_items_that_stand_on_the_wrong_side(kind):
    # The second item is rated 1 and the third 0, but the second is below the third.
    rewards = torch.tensor([0.0, 0.45, 0.55, 1.0], requires_grad=True)
    loss_of(rewards, [0, 1, 0, 1], 2, kind).sum().backward()
    # A step goes against the gradient.
    assert rewards.grad[1] < 0.0 < rewards.grad[2]


@pytest.mark.parametrize("kind", ["mae", "cross_entropy"])
def test_scale_and_offset_do_not_matter(kind):
    rewards = torch.tensor([0.1, 0.7, 0.3, 0.9, 0.5], dtype=torch.float64)
    ratings = [0, 1, 1, 2, 0]
    expected = loss_of(rewards, ratings, 3, kind)
    assert torch.allclose(loss_of(7.0 * rewards - 3.0, ratings, 3, kind), expected, rtol=1e-4)
    assert not torch.allclose(loss_of(-rewards, ratings, 3, kind), expected, rtol=0.1)


def test_mae_is_twice_the_probability_that_is_missing():
    log_probabilities = torch.tensor([[0.7, 0.2, 0.1]]).log()
    targets = torch.tensor([[0.0, 1.0, 0.0]])
    assert item_losses(log_probabilities, targets, "mae").tolist() == pytest.approx([1.6])


def test_cross_entropy_of_a_smoothed_target():
    log_probabilities = torch.tensor([[0.5, 0.25, 0.25]]).log()
    targets = torch.tensor([[0.8, 0.1, 0.1]])
    expected = -(0.8 * math.log(0.5) + 0.2 * math.log(0.25))
    assert item_losses(log_probabilities, targets, "cross_entropy").tolist() == pytest.approx([expected])


def test_a_sure_mistake_costs_at_most_2_under_mae_and_more_under_cross_entropy():
    rewards = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    ratings = [0, 0, 1, 1, 1, 0]
    assert loss_of(rewards, ratings, 2, "mae").max() <= 2.0
    assert loss_of(rewards, ratings, 2, "cross_entropy", sharpness=100.0).max() > 10.0


def test_smoothing_spreads_mass_over_levels_that_occur():
    targets = smoothed_targets(torch.tensor([0, 3, 3]), 4, 0.2)
    assert targets[0].tolist() == pytest.approx([0.9, 0.0, 0.0, 0.1])
    assert targets[1].tolist() == pytest.approx([0.1, 0.0, 0.0, 0.9])


def test_smoothed_cross_entropy_of_absent_levels_is_finite():
    assert torch.isfinite(loss_of(ZERO_TO_ONE, [0, 0, 0, 2, 2, 2], 3, "cross_entropy", label_smoothing=0.1)).all()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([900, 100], [1.0, 9.0]),
        ([600, 300, 100], [1.0, 1.75, 2.25]),
        ([900, 0, 100], [1.0, 0.0, 9.0]),
        ([0, 10, 0], [0.0, 1.0, 0.0]),
    ],
)
def test_class_weights(counts, expected):
    assert class_weights(torch.tensor(counts)).tolist() == pytest.approx(expected)


def test_level_counts_name_absent_levels():
    assert level_counts(torch.tensor([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]


def test_published_boundaries_lie_at_the_item_below_the_cut():
    def below(counts):
        return level_boundaries(ZERO_TO_ONE, torch.tensor(counts), "below").tolist()

    assert below([2, 3, 1]) == pytest.approx([0.0, 0.2, 0.8, 1.0])
    # A lowest level of one item has no room there, and an absent one does not read the highest item.
    assert below([1, 5]) == pytest.approx([0.0, 0.0, 1.0])
    assert below([0, 2, 4]) == pytest.approx([0.0, 0.0, 0.2, 1.0])
    assert below([2, 4, 0]) == pytest.approx([0.0, 0.2, 1.0, 1.0])


def test_the_place_of_the_boundaries_changes_the_loss():
    rewards, ratings = torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0, 0, 1])
    between = level_log_probabilities(rewards, ratings, 2, 8.0).exp()
    below = level_log_probabilities(rewards, ratings, 2, 8.0, "below").exp()
    # At R = 0.5 the boundary is 0.75 or R itself: logits 1 and -1, or 0 and 0.
    assert between[1, 0].item() == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-5)
    assert below[1].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
