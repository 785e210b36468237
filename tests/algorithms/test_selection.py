"""What is worth a question, and that weights undo what picking does to a mean."""

import numpy as np
import pytest
import torch

from algorithms.rating_loss import (
    expected_levels,
    item_losses,
    level_log_probabilities,
    smoothed_targets,
)
from algorithms.reward_model import RewardModel
from algorithms.selection import (
    disagreement,
    distances,
    doubt,
    farthest_first,
    most_first,
    num_at_random,
    with_others,
)
from algorithms.settings import RewardModelSettings


def test_weights_make_the_rating_loss_of_what_was_selected_that_of_all_candidates():
    rng = np.random.default_rng(0)
    rewards = torch.tensor(rng.random(60))
    ratings = torch.tensor(rng.integers(0, 3, 60))
    losses = item_losses(
        level_log_probabilities(rewards, ratings, 3, sharpness=30.0), smoothed_targets(ratings, 3, 0.0), "mae"
    ).numpy()
    picked = most_first(losses, 8)
    weighted, plain = [], []
    for _ in range(3_000):
        selection = with_others(picked, 12, 60, rng)
        assert selection.weights.sum() == pytest.approx(12) and len(set(selection.places)) == 12
        weighted.append(selection.weights @ losses[selection.places] / 12)
        plain.append(losses[selection.places].mean())
    error = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted) - losses.mean()) < 4 * error < 0.05
    assert np.mean(plain) - losses.mean() > 0.5, "what was picked has the highest losses of all"
    # What was picked counts the share that was asked about, the rest less than one over theirs.
    assert selection.weights[:8] == pytest.approx(12 / 60) and selection.weights[8:].max() < 12 / 4


def test_nothing_is_left_out_of_reach_and_without_picking_all_count_alike():
    selection = with_others(np.array([], dtype=np.int64), 5, 20, np.random.default_rng(0))
    assert selection.weights.tolist() == [1.0] * 5 and selection.num_picked == 0
    assert [num_at_random(number, 0.3) for number in (1, 2, 10, 50)] == [1, 1, 3, 15]
    for picked in (5, 20):
        with pytest.raises(ValueError, match="leave none to chance"):
            with_others(np.arange(picked), 5, 20, np.random.default_rng(0))


def test_members_that_are_unsure_are_in_doubt_and_only_those_that_contradict_each_other_disagree():
    sure, unsure, split = [[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    opinions = np.array([sure, unsure, split], dtype=np.float32).transpose(1, 0, 2)
    assert doubt(opinions) == pytest.approx([0.0, np.log(2), np.log(2)], abs=1e-6)
    assert disagreement(opinions) == pytest.approx([0.0, 0.0, np.log(2)], abs=1e-6)
    assert most_first(doubt(opinions), 2).tolist() == [1, 2], "of equal ones the first"


def test_each_novel_one_is_far_from_what_is_known_and_from_those_before():
    candidates, known = np.array([[-0.1, 7.0], [0.9, 7.0], [1.0, 7.0], [0.5, 7.0]]), np.array([[0.1, 7.0]])
    between = distances(candidates, candidates)
    nearest = distances(candidates, known).min(axis=1)
    # The second is as good as known once the third is asked about; what never varies counts nothing.
    assert farthest_first(nearest, between, 3).tolist() == [2, 3, 0]
    assert farthest_first(np.full(4, np.inf), between, 2).tolist() == [0, 2]


def test_what_is_expected_of_rated_items_is_what_the_loss_says_of_them():
    rewards, ratings = torch.linspace(0.3, 0.9, 12), torch.tensor([0] * 5 + [2] * 7)
    known = level_log_probabilities(rewards, ratings, 3, sharpness=30.0).exp()
    torch.testing.assert_close(expected_levels(rewards, rewards, ratings, 3, 30.0), known)
    outside = expected_levels(torch.tensor([-5.0, 5.0]), rewards, ratings, 3, 30.0)
    torch.testing.assert_close(outside, known[[0, -1]])


def make_model(**changes):
    settings = {"input": "state", "hidden": (16,), "batch_size": 64, "max_epochs": 30, "learning_rate": 1e-2}
    return RewardModel(RewardModelSettings(**(settings | changes)), 1, seed=0)


def test_ratings_that_count_nothing_teach_nothing_and_equal_weights_change_nothing():
    rng = np.random.default_rng(0)
    states = rng.random((120, 1)).astype(np.float32)
    right = (states[:, 0] > 0.5).astype(np.int64)
    told = np.where(np.arange(120) < 80, 1 - right, right)
    trusting, knowing, even = make_model(), make_model(), make_model()
    trusting.fit(states, told, 2, np.random.default_rng(1))
    even.fit(states, told, 2, np.random.default_rng(1), item_weights=np.ones(120, dtype=np.float32))
    knowing.fit(states, told, 2, np.random.default_rng(1), item_weights=(np.arange(120) >= 80).astype(np.float32))
    low, high = np.array([[0.1]], np.float32), np.array([[0.9]], np.float32)
    assert knowing.score(high) > knowing.score(low) and trusting.score(high) < trusting.score(low)
    np.testing.assert_allclose(even.score(states), trusting.score(states), atol=1e-3)


def test_opinions_are_of_segments_and_of_pairs_and_change_nothing():
    states = np.random.default_rng(0).random((60, 2, 1)).astype(np.float32)
    levels = np.minimum((states.mean(axis=(1, 2)) * 3).astype(np.int64), 2)
    model = make_model(loss="cross_entropy")
    model.fit(states, levels, 3, np.random.default_rng(1))
    before = model.score(states[:, 0])
    ends = np.array([[[0.05], [0.05]], [[0.95], [0.95]]], np.float32)
    opinions = model.opinions(ends, states, levels, 3)
    assert opinions.shape == (3, 2, 3) and opinions.sum(axis=2) == pytest.approx(1.0)
    assert (opinions.argmax(axis=2) == [0, 2]).all()
    np.testing.assert_array_equal(model.score(states[:, 0]), before)
    settings = RewardModelSettings(input="state", hidden=(16,), max_epochs=20, learning_rate=1e-2)
    compares = RewardModel(settings, 1, seed=0, compares=True)
    second = (states[:, 1, 0] > states[:, 0, 0]).astype(np.int64)
    compares.fit(states, second, 2, np.random.default_rng(1), item_weights=np.ones(60, dtype=np.float32))
    of_pairs = compares.opinions(np.array([[[0.1], [0.9]], [[0.9], [0.1]]], np.float32), states, second, 2)
    assert of_pairs.shape == (3, 2, 2) and (of_pairs.argmax(axis=2) == [1, 0]).all()
